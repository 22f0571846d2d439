from __future__ import annotations

import click

from cli import client, declaring, failing, partitions, reindexing, reporting, searching, stack, syncing, words


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="millrace")
def main() -> None:
    """Files in; checked rows, a search index and reports out."""


for module in (stack, client, reporting, searching, words, reindexing, partitions, declaring, failing, syncing):
    for command in module.COMMANDS:
        main.add_command(command)
