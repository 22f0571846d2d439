"""Where a source goes on: what to ask next, when to stop, and whether it leads in a circle. Pure.

The first reason to stop wins; what is asked for never grows beyond a declared maximum. A short page is no reason.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from shared.catalog import jsonpath
from shared.catalog.source import Cursor, HeaderLink, JsonLink, Offset, PageNumber, Paginator

Token = str | int
SHOWN = 50
"""Characters of a value that is not what it should be."""


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is asked for next: page or offset `number`, or the cursor or link `token`; `rows` have come before it."""

    number: int = 0
    token: Token | None = None
    rows: int = 0


class Page(NamedTuple):
    """What a source answered: its rows as they came, the whole document, and the links of its header by name."""

    rows: Sequence[Any]
    document: Any
    links: Mapping[str, str]


class BadPage(Exception):
    """The page does not say what the paginator needs to know."""


def first(paginator: Paginator) -> Place:
    """Where a sync begins."""
    match paginator:
        case PageNumber():
            return Place(number=paginator.base_page)
        case Offset():
            return Place(number=paginator.offset)
    return Place()


def parameters(paginator: Paginator, place: Place) -> dict[str, Token]:
    """The query parameters that bring the page at this place."""
    asked: dict[str, Token] = {}
    if isinstance(paginator, PageNumber | Offset | Cursor) and paginator.limit is not None:
        asked[paginator.limit_param] = paginator.limit
    match paginator:
        case PageNumber():
            asked[paginator.page_param] = place.number
        case Offset():
            asked[paginator.offset_param] = place.number
        case Cursor() if place.token is not None:
            asked[paginator.cursor_param] = place.token
    return asked


def link(paginator: Paginator, place: Place) -> str | None:
    """The URL that the page before this place has told, absolute or not."""
    return str(place.token) if isinstance(paginator, JsonLink | HeaderLink) and place.token is not None else None


def follow(paginator: Paginator, place: Place, page: Page) -> Place | None:
    """The place after this page, or None if it was the last one. Raises BadPage."""
    rows = place.rows + len(page.rows)
    match paginator:
        case PageNumber():
            number = place.number + 1
            total = _total(paginator.total_path, page)
            reached = rows if paginator.total_of == "rows" else number - paginator.base_page
            ends = _is_last(paginator, page, reached, total) or _is_over(number, paginator.maximum_page)
            return None if ends else Place(number=number, rows=rows)
        case Offset():
            number = place.number + (len(page.rows) or paginator.limit)
            total = _total(paginator.total_path, page)
            ends = _is_last(paginator, page, number, total) or _is_over(number, paginator.maximum_offset)
            return None if ends else Place(number=number, rows=rows)
    token = _token(paginator, page)
    return None if token in (None, "") else Place(token=token, rows=rows)


def _is_over(number: int, maximum: int | None) -> bool:
    return maximum is not None and number > maximum


def _is_last(paginator: PageNumber | Offset, page: Page, reached: int, total: int | None) -> bool:
    """Whether the page says so, or else is empty."""
    if total is not None and reached >= total:
        return True
    more = _has_more(paginator.has_more_path, page)
    return not page.rows and paginator.stop_after_empty_page if more is None else not more


def _token(paginator: Paginator, page: Page) -> Token | None:
    """The cursor or link of the next page."""
    if isinstance(paginator, HeaderLink):
        return page.links.get(paginator.links_next_key)
    if not isinstance(paginator, Cursor | JsonLink) or _has_more(paginator.has_more_path, page) is False:
        return None
    path = paginator.cursor_path if isinstance(paginator, Cursor) else paginator.next_url_path
    told = jsonpath.first(page.document, path)
    if told is None or (isinstance(told, str | int) and not isinstance(told, bool)):
        return told
    raise BadPage(f"{path} should be a text or a whole number, and is {str(told)[:SHOWN]!r}")


def _has_more(path: str | None, page: Page) -> bool | None:
    """None if the source does not say."""
    told = jsonpath.first(page.document, path) if path else None
    if isinstance(told, str):
        return {"true": True, "false": False}.get(told.lower())
    return None if told is None else bool(told)


def _total(path: str | None, page: Page) -> int | None:
    """None if the source does not say."""
    told = jsonpath.first(page.document, path) if path else None
    if told is None:
        return None
    try:
        return int(told)
    except (TypeError, ValueError):
        raise BadPage(f"{path} should be a number, and is {str(told)[:SHOWN]!r}") from None


class Trail(msgspec.Struct, frozen=True, omit_defaults=True):
    """Notices when a source leads in a circle, in constant memory: a page with the same rows as the one before, and by
    Brent's algorithm a cursor or link that was there already.
    """

    rows: str = ""
    last: str = ""
    mark: str = ""
    steps: int = 0
    reach: int = 1

    def repeats(self, page: Page) -> bool:
        """Whether the page has the same rows as the one before it. Empty pages may follow each other."""
        return bool(page.rows) and self.rows == digest(page.rows)

    def over(self, page: Page, after: Place) -> "Trail | None":
        """The trail over this page to the place after it; None if it was there before."""
        rows = digest(page.rows)
        if after.token is None:
            return Trail(rows=rows)
        token = digest(after.token)
        if token in (self.last, self.mark):
            return None
        if self.steps + 1 == self.reach:
            return Trail(rows=rows, last=token, mark=token, reach=self.reach * 2)
        return Trail(rows=rows, last=token, mark=self.mark, steps=self.steps + 1, reach=self.reach)


def digest(value: Any) -> str:
    """Equal for what is written equally."""
    return hashlib.blake2b(msgspec.json.encode(value), digest_size=12).hexdigest()
