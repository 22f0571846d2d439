"""A job that refreshes a report or builds a rollup anew, and what came of it."""

import click
import msgspec

from cli import show
from cli.answers import Job


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """`versions` and `chunks` of a refresh, `groups` and `mended` of a rebuild."""

    versions: dict[str, int] = {}
    chunks: int = 0
    groups: int = 0
    mended: int = 0


class CountJob(Job, frozen=True, kw_only=True):
    """`result` is there when it has succeeded."""

    report: str = ""
    rollup: str = ""
    result: Counts | None = None


def tell(job: CountJob) -> None:
    """Its outcome."""
    show.outcome(job)
    if job.result is None:
        return
    if job.kind == "rebuild":
        wrong = f"{job.result.mended:,} of them were wrong and are mended" if job.result.mended else "all were right"
        click.echo(f"{job.dataset}.{job.rollup} has {job.result.groups:,} groups; {wrong}.")
        return
    shown = ", ".join(f"{name} {version:,}" for name, version in job.result.versions.items())
    click.echo(f"{job.report} shows everything up to the versions {shown}; {job.result.chunks:,} chunks were counted.")
