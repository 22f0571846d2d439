"""What a search found, as people read it: the words that were looked for stand out, whatever is HTML elsewhere."""

import datetime as dt
import html
import re
from collections.abc import Sequence
from typing import Any

import click
import msgspec
from rich.text import Text

from cli import show
from cli.answers import Job
from cli.show import Counted, printable

MARKS = re.compile(r"(<mark>.*?</mark>)", re.DOTALL)
MARK = "bold"


class Hit(msgspec.Struct, frozen=True):
    """A row that a search found; `highlight` is HTML."""

    row: dict[str, Any]
    score: float
    highlight: dict[str, list[str]] = {}


class Total(msgspec.Struct, frozen=True):
    """How many rows match: exactly (`eq`), or at least (`gte`)."""

    value: int
    relation: str


class Value(msgspec.Struct, frozen=True):
    """How many hits have it."""

    value: Any
    count: int


class Facet(msgspec.Struct, frozen=True):
    """The most frequent values, and how many hits have others; `approximate` if not all hits were counted."""

    values: list[Value]
    other_count: int
    approximate: bool


class Correction(msgspec.Struct, frozen=True):
    """What was looked for beside a word."""

    word: str
    corrected: list[str]


class Meta(msgspec.Struct, frozen=True):
    """How the answer came about."""

    corrections: list[Correction] = []
    detail: str = ""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The best hits of a search."""

    data: list[Hit]
    total: Total
    facets: dict[str, Facet] = {}
    meta: Meta = Meta()


class Kept(Found, frozen=True, kw_only=True):
    """Some of the `hits` that are kept of a search that was a job."""

    hits: int
    expires_at: dt.datetime


class SearchJob(Job, frozen=True, kw_only=True):
    """A search as a job; without a result it has not succeeded, or that is `expired`."""

    result: Kept | None
    expired: bool


def found(answer: Found) -> None:
    """The rows without what none of them has, how many there are, and what is to be known about them."""
    if answer.data:
        rows = [hit.row for hit in answer.data]
        names = [name for name in rows[0] if any(row[name] is not None for row in rows)]
        scored = [[round(hit.score, 4)] if answer.data[0].score else [] for hit in answer.data]
        columns = ["SCORE", *names] if scored[0] else names
        show.table(columns, ([*scores, *_cells(hit, names)] for scores, hit in zip(scored, answer.data, strict=True)))
    least = "at least " if answer.total.relation == "gte" else ""
    click.echo(f"{len(answer.data):,} of {least}{answer.total.value:,}" if answer.data else "Nothing matches.")
    for correction in answer.meta.corrections:
        click.echo(f"Looked for {printable(', '.join(correction.corrected))} beside {printable(correction.word)!r}.")
    if answer.meta.detail:
        click.echo(printable(answer.meta.detail))
    for name, facet in answer.facets.items():
        if facet.values:
            click.echo()
            _facet(name, facet)


def kept(job: SearchJob) -> None:
    """The first hits, or why there are none."""
    if job.result is not None:
        result = job.result
        found(result)
        click.echo(f"Kept until {result.expires_at:%Y-%m-%d %H:%M:%S} UTC: {result.hits:,} hits of job {job.id}.")
    elif job.expired:
        click.echo(f"What job {job.id} found is kept no longer: search again.")
    else:
        show.outcome(job)


def marked(fragments: Sequence[str]) -> Text:
    """The text that the fragments of HTML stand for."""
    text = Text()
    for number, fragment in enumerate(fragments):
        text.append(" " if number else "")
        for piece in MARKS.split(fragment):
            is_marked = piece.startswith("<mark>")
            plain = piece.removeprefix("<mark>").removesuffix("</mark>") if is_marked else piece
            text.append(printable(html.unescape(plain)), style=MARK if is_marked else "")
    return text


def _cells(hit: Hit, names: Sequence[str]) -> list[Any]:
    return [marked(hit.highlight[name]) if hit.highlight.get(name) else hit.row[name] for name in names]


def _facet(name: str, facet: Facet) -> None:
    rows: list[tuple[Any, Counted]] = [(one.value, Counted(one.count)) for one in facet.values]
    show.table((name.upper(), "AT LEAST" if facet.approximate else "HITS"), rows)
    if facet.other_count:
        click.echo(f"{facet.other_count:,} with other values")
