"""`make demo`: imports samples, searches them and runs reports, then prints addresses and next commands."""

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from cli.gateway import Gateway, route
from cli.imports import load
from cli.outcomes import print_outcome
from cli.reports import Report, ReportResult, print_errors
from cli.responses import Collection, Job
from cli.search_results import SearchResponse, print_hits
from cli.tables import print_table
from deploy.local.addresses import SERVICES, service_url
from deploy.local.part import StackError
from deploy.local.state import REPOSITORY, Home

FOLDER = REPOSITORY / "samples"
YEAR = 2018
QUERY = "lighthouse reef"
EXPECTED_HIT = "aino.cordova@weir.example"
ROWS_SHOWN = 8


class RowCount(msgspec.Struct, frozen=True):
    """Number of rows of a dataset."""

    total: int


class Sample(NamedTuple):
    """A file in `samples/`, named after its dataset, with its number of valid and invalid rows."""

    dataset: str
    valid: int
    invalid: int = 0

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.dataset}.csv"


SAMPLES = (
    Sample("departments", valid=12),
    Sample("jobs", valid=40),
    Sample("hired_employees", valid=2000, invalid=31),
    Sample("contacts", valid=56, invalid=4),
    Sample("items", valid=95, invalid=5),
)
HIRED_IN_YEAR = 644


def main() -> None:
    """Exits with 0 if all counts are as expected, including the rows that fail on purpose."""
    try:
        with Gateway.find() as gateway:
            _run(gateway)
    except StackError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(1)


def _run(gateway: Gateway) -> None:
    click.echo("Imports five CSV files. Some rows are invalid on purpose: they are stored with the reason.")
    click.echo("All other rows are loaded into Postgres, indexed for search and counted in reports.")
    jobs = [_import(gateway, sample) for sample in SAMPLES]
    _search(gateway)
    _report(gateway)
    if not any(job.outcome.inserted or job.outcome.updated for job in jobs):
        _title("Second run")
        click.echo("Nothing changed: every valid row is already loaded, and no row is duplicated.")
    hired = next(job for job in jobs if job.dataset == "hired_employees")
    _print_next_steps(Home.here(), hired)


def _import(gateway: Gateway, sample: Sample) -> Job:
    _title(f"millrace import samples/{sample.path.name} -d {sample.dataset}")
    before = _count(gateway, sample.dataset)
    with sample.path.open("rb") as file:
        job = load(gateway, file, sample.path.name, sample.dataset, {}, wait=True)
    print_outcome(gateway, job)
    outcome = job.outcome
    _expect(f"{sample.dataset}: the job's status", "partial" if sample.invalid else "succeeded", job.status)
    _expect(f"{sample.dataset}: failed rows", sample.invalid, outcome.failed)
    _expect(f"{sample.dataset}: valid rows", sample.valid, outcome.inserted + outcome.updated + outcome.unchanged)
    _expect(f"{sample.dataset}: rows read", sample.valid + sample.invalid, outcome.rows_read)
    _expect(f"{sample.dataset}: rows in the table", before + outcome.inserted, _count(gateway, sample.dataset))
    if sample.invalid:
        click.echo(f"Expected: {sample.invalid} rows of this sample are invalid on purpose.")
    return job


def _search(gateway: Gateway) -> None:
    _title(f"millrace search contacts '{QUERY}'")
    response = gateway.read(SearchResponse, route("datasets", "contacts", "search"), {"q": QUERY})
    _expect(f"hits with email {EXPECTED_HIT}", 1, [hit.row["email"] for hit in response.data].count(EXPECTED_HIT))
    print_hits(response)


def _report(gateway: Gateway) -> None:
    for report in gateway.read(Collection[Report], route("reports")).data:
        if report.state == "broken":
            print_errors(report)
    for name in ("hires_by_quarter", "departments_above_average"):
        _title(f"millrace report {name} year={YEAR}")
        result = gateway.read(ReportResult, route("reports", name), {"year": YEAR})
        shown = result.data[:ROWS_SHOWN]
        print_table(result.columns, ([row[column] for column in result.columns] for row in shown))
        click.echo(f"{len(shown)} of {len(result.data)} rows")
        if name == "hires_by_quarter":
            hired = sum(row[quarter] for row in result.data for quarter in ("q1", "q2", "q3", "q4"))
            # There are more if the user has imported other hires.
            _expect(f"{name}: at least this many hires in {YEAR}", HIRED_IN_YEAR, min(hired, HIRED_IN_YEAR))


def _print_next_steps(home: Home, job: Job) -> None:
    config = home.read_config()
    command = "millrace" if shutil.which("millrace") else _relative(Path(sys.executable).with_name("millrace"))
    _title("Addresses")
    for label, value in (
        ("API documentation", f"{service_url(config, 'gateway')}/docs"),
        *((f"{service} metrics", f"{service_url(config, service)}/metrics") for service in SERVICES),
        ("API key", _relative(home.api_key)),
        ("status", f"{command} status"),
        ("logs", f"{command} logs -f"),
    ):
        click.echo(f"{label:18} {value}")
    _title("Next commands")
    click.echo(f"{command} failed {job.id} --csv > failed.csv")
    click.echo(f"{command} search contacts 'rye bread -station'")
    click.echo(f"{command} report departments_above_average year={YEAR + 1}")


def _count(gateway: Gateway, dataset: str) -> int:
    return gateway.read(RowCount, route("datasets", dataset, "rows"), {"limit": 1}).total


def _expect(subject: str, expected: object, actual: object) -> None:
    if expected != actual:
        raise StackError(f"Unexpected result for {subject}: expected {expected}, got {actual}. See `millrace logs`.")


def _title(text: str) -> None:
    click.secho(f"\n{text}", bold=True)


def _relative(path: Path) -> str:
    folder = Path.cwd()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


if __name__ == "__main__":
    main()
