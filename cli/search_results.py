"""Prints search results with the matching words highlighted."""

import datetime as dt
import html
import re
from collections.abc import Sequence
from typing import Any

import click
import msgspec
from rich.text import Text

from cli.gateway import decode
from cli.outcomes import RESULT_PRINTERS, print_status
from cli.responses import Job
from cli.tables import Count, print_table, printable

MARKS = re.compile(r"(<mark>.*?</mark>)", re.DOTALL)
MARK_STYLE = "bold"


class Hit(msgspec.Struct, frozen=True):
    """A matching row; `highlight` holds fragments of HTML by field."""

    row: dict[str, Any]
    score: float
    highlight: dict[str, list[str]] = {}


class Total(msgspec.Struct, frozen=True):
    """Number of matching rows: exact (`eq`) or a lower bound (`gte`)."""

    value: int
    relation: str


class FacetValue(msgspec.Struct, frozen=True):
    """A value and its number of hits."""

    value: Any
    count: int


class Facet(msgspec.Struct, frozen=True):
    """The most frequent values of a field; `approximate` if not all hits were counted."""

    values: list[FacetValue]
    other_count: int
    approximate: bool


class Correction(msgspec.Struct, frozen=True):
    """A misspelt word and the words that were searched as well."""

    word: str
    corrected: list[str]


class Meta(msgspec.Struct, frozen=True):
    """Corrections, and a note if the result is incomplete."""

    corrections: list[Correction] = []
    detail: str = ""


class SearchResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The best hits of a search."""

    data: list[Hit]
    total: Total
    facets: dict[str, Facet] = {}
    meta: Meta = Meta()


class StoredResult(SearchResponse, frozen=True, kw_only=True):
    """A page of the hits that a search job has stored; `hits` counts all stored ones."""

    hits: int
    expires_at: dt.datetime


class SearchJob(Job, frozen=True, kw_only=True):
    """A search job; `result` is None if the job has not succeeded or the result is `expired`."""

    result: StoredResult | None
    expired: bool


def print_hits(response: SearchResponse) -> None:
    """Prints the hits without empty columns, then the total, corrections and facets."""
    if response.data:
        rows = [hit.row for hit in response.data]
        names = [name for name in rows[0] if any(row[name] is not None for row in rows)]
        scores = [[round(hit.score, 4)] if response.data[0].score else [] for hit in response.data]
        columns = ["SCORE", *names] if scores[0] else names
        print_table(columns, ([*score, *_cells(hit, names)] for score, hit in zip(scores, response.data, strict=True)))
    bound = "at least " if response.total.relation == "gte" else ""
    click.echo(f"{len(response.data):,} of {bound}{response.total.value:,}" if response.data else "Nothing matches.")
    for correction in response.meta.corrections:
        corrected = printable(", ".join(correction.corrected))
        click.echo(f"{printable(correction.word)!r} may be misspelt; also searched for {corrected}.")
    if response.meta.detail:
        click.echo(printable(response.meta.detail))
    for name, facet in response.facets.items():
        if facet.values:
            click.echo()
            _print_facet(name, facet)


def print_search_job(body: bytes) -> None:
    """Prints the first hits, or the reason why there are none."""
    job = decode(body, SearchJob)
    if job.result is not None:
        result = job.result
        print_hits(result)
        click.echo(f"Stored until {result.expires_at:%Y-%m-%d %H:%M:%S} UTC: {result.hits:,} hits of job {job.id}.")
    elif job.expired:
        click.echo(f"The result of job {job.id} has expired: search again.")
    else:
        print_status(job)


def highlighted(fragments: Sequence[str]) -> Text:
    """Converts fragments of HTML to text with the marked words in bold."""
    text = Text()
    for number, fragment in enumerate(fragments):
        text.append(" " if number else "")
        for piece in MARKS.split(fragment):
            is_marked = piece.startswith("<mark>")
            plain = piece.removeprefix("<mark>").removesuffix("</mark>") if is_marked else piece
            text.append(printable(html.unescape(plain)), style=MARK_STYLE if is_marked else "")
    return text


def _cells(hit: Hit, names: Sequence[str]) -> list[Any]:
    return [highlighted(hit.highlight[name]) if hit.highlight.get(name) else hit.row[name] for name in names]


def _print_facet(name: str, facet: Facet) -> None:
    rows: list[tuple[Any, Count]] = [(value.value, Count(value.count)) for value in facet.values]
    print_table((name.upper(), "AT LEAST" if facet.approximate else "HITS"), rows)
    if facet.other_count:
        click.echo(f"{facet.other_count:,} with other values")


RESULT_PRINTERS["search"] = print_search_job
