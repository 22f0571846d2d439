"""The `millrace` command with all its subcommands."""

from __future__ import annotations

import click

from cli import (
    control,
    datasets,
    dead_letters,
    failed_rows,
    imports,
    jobs,
    partitions,
    reindex,
    reports,
    search,
    sources,
    stack,
    words,
)

MODULES = (
    stack,
    imports,
    jobs,
    control,
    reports,
    search,
    words,
    reindex,
    partitions,
    datasets,
    failed_rows,
    sources,
    dead_letters,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="millrace")
def main() -> None:
    """Loads files into checked rows, a search index and reports."""


for module in MODULES:
    for command in module.COMMANDS:
        main.add_command(command)
