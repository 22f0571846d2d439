"""`millrace import`: uploads a file and follows its import."""

from pathlib import Path
from typing import IO

import click

from cli import progress
from cli.follow import follow, print_and_exit
from cli.gateway import Gateway, Parameters
from cli.options import dataset_option, file_options, json_option
from cli.responses import Job
from cli.tables import printable
from cli.upload import upload


@click.command("import")
@click.argument("file")
@dataset_option
@click.option(
    "--mode",
    type=click.Choice(["upsert", "insert", "append", "replace"]),
    help="Default: upsert, or append without a primary key.",
)
@file_options
@click.option("--quote", help="Quote character.")
@click.option("--validate-only", is_flag=True, flag_value="true", default=None, help="Check all rows, write nothing.")
@click.option(
    "--check-references",
    is_flag=True,
    flag_value="true",
    default=None,
    help="Reject rows whose referenced row does not exist.",
)
@click.option("--max-errors", type=click.IntRange(0), help="Fail the job if more rows fail.")
@click.option("--max-error-rate", type=click.FloatRange(0, 1), help="Fail the job if a larger share of rows fails.")
@click.option("--no-wait", is_flag=True, help="Exit as soon as the file is accepted.")
@json_option
def import_file(file: str, dataset: str, *, no_wait: bool, as_json: bool, **parameters: str | float | None) -> None:
    """Imports a file, or standard input (-), and follows the job to its end.

    The format is CSV unless the name ends in .tsv, .ndjson, .jsonl or .json. Files ending in .gz or .zst are uploaded
    compressed.

    Exit codes: 0 if all rows were imported, 3 if some rows failed, 4 if the job failed, 1 if it was not accepted.
    """
    try:
        opened = click.open_file(file, "rb")
    except OSError as error:
        raise click.ClickException(f"{file} cannot be read: {error.strerror}.") from None
    with Gateway.find() as gateway, opened:
        job = load(gateway, opened, Path(file).name, dataset, parameters, wait=not no_wait)
        print_and_exit(gateway, job, no_wait=no_wait, as_json=as_json)


def load(gateway: Gateway, file: IO[bytes], name: str, dataset: str, parameters: Parameters, *, wait: bool) -> Job:
    """Returns the job when it has ended, or has been accepted. The suffix of `name` sets the format."""
    with progress.display(printable(name)) as display:
        job = upload(gateway, file, name, dataset, parameters, display)
        return follow(gateway, job, display) if wait else job


COMMANDS: list[click.Command] = [import_file]
