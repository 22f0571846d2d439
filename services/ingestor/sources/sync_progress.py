"""How far a sync has come, and why it ends. Pure: a page goes in, what is worth loading of it comes out."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from services.ingestor.sources import mapping, paginators
from services.ingestor.sources.paginators import Page, Place, Trail
from shared.catalog.source import Source
from shared.contracts.parts import Problem


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What stands in `PullPage.at`: the place that is asked for next, and all that the sync must know until its end.

    `since` is what an incremental source is asked for, all the time, and `highest` what it will be asked for next time.
    """

    place: Place
    trail: Trail = Trail()
    pages: int = 0
    rows: int = 0
    bytes: int = 0
    since: str | None = None
    highest: str | None = None


class Step(NamedTuple):
    """The rows of a page that count, and how far that brings the sync. `warning` says what ended it, if not its end."""

    rows: Sequence[Any]
    progress: Progress
    ended: bool
    warning: Problem | None = None


def begin(source: Source, cursor: str | None) -> Progress:
    """Before the first page of a source that was read up to `cursor`."""
    since = cursor
    if since is None and source.incremental and source.incremental.initial_value is not None:
        since = str(source.incremental.initial_value)
    return Progress(place=paginators.first(source.paginator), since=since, highest=cursor)


def advance(source: Source, before: Progress, page: Page, *, seconds: float) -> Step:
    """What a page brings; the sync has taken so many seconds. Raises BadPage.

    Hard stops always win, and nothing ends early without a warning.
    """
    if before.trail.repeats(page):
        return Step([], before, ended=True, warning=_loop("its pages repeat"))
    rows = page.rows[: source.max_rows - before.rows]
    path = source.incremental.cursor_path if source.incremental else None
    after = msgspec.structs.replace(
        before,
        pages=before.pages + 1,
        rows=before.rows + len(rows),
        highest=mapping.highest(rows, path, before.highest) if path else before.highest,
    )
    place = paginators.follow(source.paginator, before.place, page)
    if place is None and len(rows) == len(page.rows):
        return Step(rows, after, ended=True)
    if stop := _stop(source, after, seconds):
        return Step(rows, after, ended=True, warning=stop)
    if place is None:
        raise AssertionError("rows are left out only where max_rows stops")
    trail = before.trail.over(page, place)
    if trail is None:
        return Step(rows, after, ended=True, warning=_loop("its cursor or link was there before"))
    return Step(rows, msgspec.structs.replace(after, place=place, trail=trail), ended=False)


def _stop(source: Source, after: Progress, seconds: float) -> Problem | None:
    """Why there must not be another page."""
    for word, reached in (("max_rows", after.rows), ("max_pages", after.pages), ("max_seconds", seconds)):
        if reached >= getattr(source, word):
            detail = f"The source {source.name} has more, but {word} = {getattr(source, word):g} is reached."
            return Problem(
                code=word, detail=detail, hint="What came until then is loaded. Raise the limit for the rest."
            )
    return None


def _loop(reason: str) -> Problem:
    detail = f"The source leads in a circle: {reason}. What came until then is loaded."
    hint = "Look at the paginator of the source, or tell those who run it."
    return Problem(code="pagination_loop", detail=detail, hint=hint)
