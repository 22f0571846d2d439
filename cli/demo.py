"""`python -m cli.demo`: the stack at work on a sample, ended by where to look and what to try next."""

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import click

from cli import hits, importing, reporting, show
from cli.answers import Job, Page, Reports, Result
from cli.gateway import Gateway, route
from cli.hits import Found
from deploy.local.addresses import SERVICES, service_url
from deploy.local.failure import StackFailure
from deploy.local.state import REPOSITORY, Home

SAMPLES = REPOSITORY / "samples"
YEAR = 2018
QUERY = "lighthouse reef"
SOUGHT = "aino.cordova@weir.example"
SHOWN_ROWS = 8


class Sample(NamedTuple):
    """A file of the folder `samples`, named like its dataset, and how many of its rows are good and bad."""

    dataset: str
    good: int
    bad: int = 0

    @property
    def path(self) -> Path:
        return SAMPLES / f"{self.dataset}.csv"


CONTENTS = (
    Sample("departments", good=12),
    Sample("jobs", good=40),
    Sample("hired_employees", good=2000, bad=31),
    Sample("contacts", good=56, bad=4),
    Sample("items", good=95, bad=5),
)
HIRED_IN_YEAR = 644


def main() -> None:
    """Ends with 0 if everything is as it should be, bad rows included."""
    try:
        with Gateway.find() as gateway:
            _show(gateway)
    except StackFailure as failure:
        click.echo(f"Error: {failure}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(1)


def _show(gateway: Gateway) -> None:
    click.echo("Five CSV files go in. Some of their rows are bad, on purpose: those are kept apart and explained,")
    click.echo("all others become rows of Postgres, documents to search and numbers of reports.")
    jobs = [_import(gateway, sample) for sample in CONTENTS]
    _search(gateway)
    _report(gateway)
    if not any(job.outcome.inserted or job.outcome.updated for job in jobs):
        _title("A second run")
        click.echo("Nothing changed: every good row was there already, and no row is there twice.")
    hired = next(job for job in jobs if job.dataset == "hired_employees")
    _addresses(Home.here(), hired)


def _import(gateway: Gateway, sample: Sample) -> Job:
    _title(f"millrace import samples/{sample.path.name} -d {sample.dataset}")
    before = _count(gateway, sample.dataset)
    job = importing.load_path(gateway, sample.path, sample.dataset)
    importing.tell(gateway, job)
    outcome = job.outcome
    _expect(f"{sample.dataset}: the job's status", "partial" if sample.bad else "succeeded", job.status)
    _expect(f"{sample.dataset}: failed rows", sample.bad, outcome.failed)
    _expect(f"{sample.dataset}: good rows", sample.good, outcome.inserted + outcome.updated + outcome.unchanged)
    _expect(f"{sample.dataset}: rows read", sample.good + sample.bad, outcome.rows_read)
    _expect(f"{sample.dataset}: rows in the table", before + outcome.inserted, _count(gateway, sample.dataset))
    if sample.bad:
        click.echo(f"That is as it should be: {sample.bad} rows of this sample are bad.")
    return job


def _search(gateway: Gateway) -> None:
    _title(f"millrace search contacts '{QUERY}'")
    found = gateway.read(Found, route("datasets", "contacts", "search"), {"q": QUERY})
    _expect(f"hits that are {SOUGHT}", 1, [hit.row["email"] for hit in found.data].count(SOUGHT))
    hits.found(found)


def _report(gateway: Gateway) -> None:
    for one in gateway.read(Reports, route("reports")).data:
        if one.state == "broken":
            reporting.warn(one)
    for name in ("hires_by_quarter", "departments_above_average"):
        _title(f"millrace report {name} year={YEAR}")
        result = gateway.read(Result, route("reports", name), {"year": YEAR})
        shown = result.data[:SHOWN_ROWS]
        show.table(result.columns, ([row[column] for column in result.columns] for row in shown))
        click.echo(f"{len(shown)} of {len(result.data)} rows")
        if name == "hires_by_quarter":
            hired = sum(row[quarter] for row in result.data for quarter in ("q1", "q2", "q3", "q4"))
            # Whoever has imported hires of their own has more.
            _expect(f"{name}: hires of {YEAR}, or more", HIRED_IN_YEAR, min(hired, HIRED_IN_YEAR))


def _addresses(home: Home, job: Job) -> None:
    facts = home.facts()
    command = "millrace" if shutil.which("millrace") else _near(Path(sys.executable).with_name("millrace"))
    _title("Where to look")
    for what, where in (
        ("interface", f"{service_url(facts, 'gateway')}/docs"),
        *((f"{service} metrics", f"{service_url(facts, service)}/metrics") for service in SERVICES),
        ("API key", _near(home.api_key)),
        ("what runs", f"{command} status"),
        ("what it logs", f"{command} logs -f"),
    ):
        click.echo(f"{what:18} {where}")
    _title("What to try next")
    click.echo(f"{command} failed {job.id} --csv > failed.csv")
    click.echo(f"{command} search contacts 'rye bread -station'")
    click.echo(f"{command} report departments_above_average year={YEAR + 1}")


def _count(gateway: Gateway, dataset: str) -> int:
    return gateway.read(Page, route("datasets", dataset, "rows"), {"limit": 1}).total


def _expect(what: str, expected: object, found: object) -> None:
    if expected != found:
        message = f"This is not what the sample holds: {what}: expected {expected}, found {found}. See `millrace logs`."
        raise StackFailure(message)


def _title(text: str) -> None:
    click.secho(f"\n{text}", bold=True)


def _near(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


if __name__ == "__main__":
    main()
