"""`millrace jobs`: lists jobs, or shows one with its outcome."""

from collections.abc import Iterable

import click

from cli.gateway import Gateway, decode, route
from cli.options import json_option
from cli.outcomes import print_outcome
from cli.responses import Collection, Job
from cli.tables import Count, print_json, print_table


@click.command()
@click.argument("job", required=False)
@click.option("-d", "--dataset", help="Only jobs of this dataset.")
@click.option("--status", help="Only jobs with this status: queued, running, succeeded, partial, failed or canceled.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 200), help="Maximum number of jobs.")
@json_option
def jobs(job: str | None, dataset: str | None, status: str | None, limit: int, *, as_json: bool) -> None:
    """Lists the newest jobs, or shows one JOB with its outcome."""
    with Gateway.find() as gateway:
        if job is None:
            body = gateway.get(route("jobs"), {"dataset": dataset, "status": status, "limit": limit}).content
        else:
            body = gateway.get(route("jobs", job)).content
        if as_json:
            print_json(body)
        elif job is None:
            _print_jobs(decode(body, Collection[Job]).data)
        elif (shown := decode(body, Job)).ended:
            print_outcome(gateway, shown)
        else:
            _print_jobs([shown])


def _print_jobs(jobs: Iterable[Job]) -> None:
    columns = ("ID", "DATASET", "KIND", "STATUS", "PERCENT", "ROWS READ", "FAILED", "CREATED AT")
    print_table(
        columns,
        (
            [
                job.id,
                job.dataset,
                job.kind,
                job.status,
                job.progress.percent,
                Count(job.outcome.rows_read),
                Count(job.outcome.failed),
                f"{job.created_at:%Y-%m-%d %H:%M:%S}",
            ]
            for job in jobs
        ),
    )


COMMANDS: list[click.Command] = [jobs]
