"""The progress of a sync, page after page, and why it ends. Pure."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from services.ingestor.sources import mapping
from shared.catalog.paginators import Page, Place
from shared.catalog.source import Source
from shared.contracts.parts import Problem


class LoopDetector(msgspec.Struct, frozen=True, omit_defaults=True):
    """Detects that a source repeats itself, in constant memory: a page has the rows of the one before, or a cursor or
    link occurs again (Brent's algorithm).
    """

    rows: str = ""
    """Digest of the rows of the last page; `last` and `mark` are digests of tokens."""
    last: str = ""
    mark: str = ""
    steps: int = 0
    """Tokens since the mark, which moves after `reach` of them."""
    reach: int = 1

    def repeats(self, page: Page) -> bool:
        """Returns whether the page has the same rows as the one before it. Empty pages may follow each other."""
        return bool(page.rows) and self.rows == _digest(page.rows)

    def advance(self, page: Page, following: Place) -> "LoopDetector | None":
        """Returns the detector after this page; None if the place that follows occurred before."""
        rows = _digest(page.rows)
        if following.token is None:
            return LoopDetector(rows=rows)
        token = _digest(following.token)
        if token in (self.last, self.mark):
            return None
        if self.steps + 1 == self.reach:
            return LoopDetector(rows=rows, last=token, mark=token, reach=self.reach * 2)
        return LoopDetector(rows=rows, last=token, mark=self.mark, steps=self.steps + 1, reach=self.reach)


def _digest(value: Any) -> str:
    """Returns the same text for values that JSON writes alike."""
    return hashlib.blake2b(msgspec.json.encode(value), digest_size=12).hexdigest()


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of a sync between two `PullPage`, as stored in `PullPage.at`: the next place and all counts so far.

    Every request of an incremental sync sends `since`; the next sync will send `highest`.
    """

    place: Place
    loop_detector: LoopDetector = msgspec.field(default=LoopDetector(), name="trail")
    pages: int = 0
    rows: int = 0
    bytes: int = 0
    since: str | None = None
    highest: str | None = None


class Step(NamedTuple):
    """The rows of a page that are loaded, and the progress after them. `warning` says what ended the sync early."""

    rows: Sequence[Any]
    progress: Progress
    ended: bool
    warning: Problem | None = None


def begin(source: Source, cursor: str | None) -> Progress:
    """Returns the progress before the first page of a source that was read up to `cursor`."""
    since = cursor
    if since is None and source.incremental and source.incremental.initial_value is not None:
        since = str(source.incremental.initial_value)
    return Progress(place=source.paginator.first_place(), since=since, highest=cursor)


def advance(source: Source, before: Progress, page: Page, *, seconds: float) -> Step:
    """Returns the step over a page; `seconds` is the duration of the sync so far. Raises BadPage.

    Limits always win, and a sync that ends early has a warning.
    """
    if before.loop_detector.repeats(page):
        return Step([], before, ended=True, warning=_loop("its pages repeat"))
    rows = page.rows[: source.max_rows - before.rows]
    path = source.incremental.cursor_path if source.incremental else None
    after = msgspec.structs.replace(
        before,
        pages=before.pages + 1,
        rows=before.rows + len(rows),
        highest=mapping.highest(rows, path, before.highest) if path else before.highest,
    )
    place = source.paginator.next_place(before.place, page)
    if place is None and len(rows) == len(page.rows):
        return Step(rows, after, ended=True)
    if warning := _reached_limit(source, after, seconds):
        return Step(rows, after, ended=True, warning=warning)
    if place is None:
        raise AssertionError("only max_rows leaves rows out")
    loop_detector = before.loop_detector.advance(page, place)
    if loop_detector is None:
        return Step(rows, after, ended=True, warning=_loop("its cursor or link occurred before"))
    return Step(rows, msgspec.structs.replace(after, place=place, loop_detector=loop_detector), ended=False)


def _reached_limit(source: Source, after: Progress, seconds: float) -> Problem | None:
    """Returns the warning if no further page may be requested."""
    for limit, reached in (("max_rows", after.rows), ("max_pages", after.pages), ("max_seconds", seconds)):
        if reached >= getattr(source, limit):
            detail = f"The source {source.name} has more, but {limit} = {getattr(source, limit):g} was reached."
            return Problem(
                code=limit, detail=detail, hint="The rows before it are loaded. Raise the limit to load the rest."
            )
    return None


def _loop(reason: str) -> Problem:
    detail = f"The source repeats itself: {reason}. The rows before that are loaded."
    hint = "Check the declared paginator, or report it to the operator of the source."
    return Problem(code="pagination_loop", detail=detail, hint=hint)
