"""The commands that ask a gateway, here or elsewhere."""

import sys
from pathlib import Path

import click

from cli import counted, hits, importing, show
from cli.answers import Dataset, Datasets, Job, Jobs
from cli.counted import CountJob
from cli.gateway import Gateway, decode, route
from cli.hits import SearchJob

dataset_option = click.option("-d", "--dataset", required=True, help="A name from `millrace datasets`.")
json_option = click.option("--json", "as_json", is_flag=True, help="The gateway's answer as it is.")


@click.command("import")
@click.argument("file")
@dataset_option
@click.option(
    "--mode",
    type=click.Choice(["upsert", "insert", "append", "replace"]),
    help="By default upsert, or append if there is no key.",
)
@click.option("--delimiter", help="Between cells: one character, or comma, semicolon, tab, pipe.")
@click.option("--quote", help="Around cells: one character.")
@click.option(
    "--header", type=click.Choice(["auto", "present", "absent"]), help="Whether the first line names the columns."
)
@click.option("--encoding", help="Like utf-16, latin-1, windows-1252; what the file's mark says, or UTF-8, by default.")
@click.option("--validate-only", is_flag=True, flag_value="true", default=None, help="Check all and write nothing.")
@click.option(
    "--check-references", is_flag=True, flag_value="true", default=None, help="Refuse rows that refer to none."
)
@click.option("--max-errors", type=click.IntRange(0), help="More failed rows than this fail the job.")
@click.option("--max-error-rate", type=click.FloatRange(0, 1), help="A larger share of failed rows fails the job.")
@click.option("--no-wait", is_flag=True, help="Return as soon as the file is accepted.")
@json_option
def import_file(file: str, dataset: str, *, no_wait: bool, as_json: bool, **parameters: str | float | None) -> None:
    """Import a file, or standard input (-), and follow it to its end.

    It is CSV unless its name ends in .tsv, .ndjson, .jsonl or .json; .gz and .zst go as they are.

    Exit code 0: all rows are in; 3: some rows failed; 4: the job failed; 1: it could not be asked for.
    """
    try:
        opened = click.open_file(file, "rb")
    except OSError as error:
        message = f"{file} can't be read: {error.strerror}."
        raise click.ClickException(message) from None
    with Gateway.find() as gateway, opened:
        job = importing.load(gateway, opened, Path(file).name, dataset, parameters, wait=not no_wait)
        if as_json:
            show.answer(gateway.get(route("jobs", job.id)).content)
        elif no_wait:
            click.echo(f"Accepted as job {job.id}: `millrace jobs {job.id}` tells how it goes.")
        else:
            importing.tell(gateway, job)
    sys.exit(0 if no_wait else importing.EXIT_CODES.get(job.status, 4))


@click.command()
@click.argument("job", required=False)
@click.option("-d", "--dataset", help="Only those of this dataset.")
@click.option("--status", help="Only queued, running, succeeded, partial or failed ones.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 200), help="How many.")
@json_option
def jobs(job: str | None, dataset: str | None, status: str | None, limit: int, *, as_json: bool) -> None:
    """Show the newest jobs, or one with its outcome."""
    with Gateway.find() as gateway:
        if job is None:
            body = gateway.get(route("jobs"), {"dataset": dataset, "status": status, "limit": limit}).content
        else:
            body = gateway.get(route("jobs", job)).content
        if as_json:
            show.answer(body)
        elif job is None:
            show.jobs(decode(body, Jobs).data)
        elif (found := decode(body, Job)).ended and found.kind == "search":
            hits.kept(decode(body, SearchJob))
        elif found.ended and found.kind in ("refresh", "rebuild"):
            counted.tell(decode(body, CountJob))
        elif found.ended:
            importing.tell(gateway, found)
        else:
            show.jobs([found])


@click.command()
@click.argument("name", required=False)
@json_option
def datasets(name: str | None, *, as_json: bool) -> None:
    """Show all datasets, or the fields of one."""
    with Gateway.find() as gateway:
        body = gateway.get(route("datasets", name) if name else route("datasets")).content
    if as_json:
        show.answer(body)
    elif name:
        show.dataset(decode(body, Dataset))
    else:
        found = decode(body, Datasets).data
        columns = ("NAME", "TITLE", "KEY", "VERSION")
        show.table(columns, ([d.name, d.title, ", ".join(d.declaration.primary_key), d.version] for d in found))


COMMANDS: list[click.Command] = [import_file, jobs, datasets]
