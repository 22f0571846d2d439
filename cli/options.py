"""Options that several commands have."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

dataset_option = click.option("-d", "--dataset", required=True, help="Name of the dataset; see `millrace datasets`.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the gateway's response as JSON.")
no_wait_option = click.option("--no-wait", is_flag=True, help="Exit as soon as the job is accepted.")

_file_options = (
    click.option("--delimiter", help="Column separator: one character, or comma, semicolon, tab, pipe."),
    click.option(
        "--header", type=click.Choice(["auto", "present", "absent"]), help="Whether the first line is a header."
    ),
    click.option("--encoding", help="For example utf-16, latin-1, windows-1252. Default: the file's BOM, or UTF-8."),
)


def file_options(command: Command) -> Command:
    """Adds the options that describe a CSV file."""
    for option in reversed(_file_options):
        command = option(command)
    return command
