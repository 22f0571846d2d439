"""Paginators: how the pages of a source follow each other, in the words of dlt. Pure.

A paginator is one class - its declaration, its mistakes, its requests, its end - and one member of `AnyPaginator`. The
first reason to stop wins, and no request goes beyond a declared maximum. A short page is no reason to stop.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec

from shared.catalog import jsonpath

Token = str | int
LONGEST_SHOWN = 50


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """The place of a page: its page number or offset `number`, or its cursor or link `token`, after `rows` rows."""

    number: int = 0
    token: Token | None = None
    rows: int = 0


class Page(NamedTuple):
    """The response of a source: its rows, the whole document, and the links of its `Link` header by name."""

    rows: Sequence[Any]
    document: Any
    links: Mapping[str, str]


class BadPage(Exception):
    """The page has no usable value where the paginator needs one."""


class Paginator(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type"
):
    """Base of all paginators. Fields that end in `_path` are JSON paths, those in `_param` query parameters."""

    reads_text: ClassVar[bool] = False
    """Whether pages may be text, which has no place for cursors, totals or links."""

    def first_place(self) -> Place:
        """Returns the place where a sync begins."""
        return Place()

    def parameters(self, place: Place) -> dict[str, Token]:  # noqa: ARG002 - for those that have parameters
        """Returns the query parameters of the request for the page at this place."""
        return {}

    def link(self, place: Place) -> str | None:  # noqa: ARG002 - for those that follow links
        """Returns the URL of the page at this place, absolute or relative, if the page before it has named one."""
        return None

    def next_place(self, place: Place, page: Page) -> Place | None:  # noqa: ARG002 - for those that go on
        """Returns the place after the page at `place`, or None if that is the last one. Raises BadPage."""
        return None

    def find_mistakes(self) -> Iterator[tuple[str, str]]:
        """Yields the key of each wrong value, or "" for the whole, with the end of a sentence about it."""
        if (limit := getattr(self, "limit", None)) is not None and limit < 1:
            yield "limit", "must be at least 1"

    def values(self, ending: Literal["_path", "_param"]) -> dict[str, str]:
        """Returns the paths or the query parameters that are declared, by key."""
        values = {key: getattr(self, key) for key in self.__struct_fields__ if key.endswith(ending)}
        return {key: value for key, value in values.items() if value}


class SinglePage(Paginator, frozen=True, kw_only=True, tag="single_page"):
    """A single request returns all rows."""

    reads_text: ClassVar[bool] = True


class _Counted(Paginator, frozen=True, kw_only=True):
    """Base of the paginators that compute the next place, so that something must end them."""

    total_path: str | None = None
    has_more_path: str | None = None
    stop_after_empty_page: bool = True

    @property
    def maximum(self) -> int | None:
        raise NotImplementedError

    def find_mistakes(self) -> Iterator[tuple[str, str]]:
        yield from super().find_mistakes()
        if not (self.stop_after_empty_page or self.total_path or self.has_more_path or self.maximum is not None):
            yield "", "has no end: set stop_after_empty_page, total_path, has_more_path or a maximum"

    def _next(self, number: int, place: Place, page: Page, reached: int) -> Place | None:
        total = _total(self.total_path, page)
        is_last = (total is not None and reached >= total) or self._is_last(page)
        if is_last or (self.maximum is not None and number > self.maximum):
            return None
        return Place(number=number, rows=place.rows + len(page.rows))

    def _is_last(self, page: Page) -> bool:
        """Returns whether the page says so; if it does not say, whether it is empty."""
        more = _has_more(self.has_more_path, page)
        return not page.rows and self.stop_after_empty_page if more is None else not more


class PageNumber(_Counted, frozen=True, kw_only=True, tag="page_number"):
    """Pages are numbered from `base_page` up to `maximum_page`.

    `total_path` is the path of the total number of `pages` or `rows`.
    """

    base_page: int = 0
    page_param: str = "page"
    limit: int | None = None
    limit_param: str = "limit"
    total_of: Literal["pages", "rows"] = "pages"
    maximum_page: int | None = None

    @property
    def maximum(self) -> int | None:
        return self.maximum_page

    def first_place(self) -> Place:
        return Place(number=self.base_page)

    def parameters(self, place: Place) -> dict[str, Token]:
        return {**_limit(self.limit_param, self.limit), self.page_param: place.number}

    def next_place(self, place: Place, page: Page) -> Place | None:
        number = place.number + 1
        reached = place.rows + len(page.rows) if self.total_of == "rows" else number - self.base_page
        return self._next(number, place, page, reached)


class Offset(_Counted, frozen=True, kw_only=True, tag="offset"):
    """Each page starts at the number of rows so far, up to `maximum_offset`."""

    limit: int
    limit_param: str = "limit"
    offset: int = 0
    offset_param: str = "offset"
    maximum_offset: int | None = None

    @property
    def maximum(self) -> int | None:
        return self.maximum_offset

    def first_place(self) -> Place:
        return Place(number=self.offset)

    def parameters(self, place: Place) -> dict[str, Token]:
        return {self.limit_param: self.limit, self.offset_param: place.number}

    def next_place(self, place: Place, page: Page) -> Place | None:
        number = place.number + (len(page.rows) or self.limit)
        return self._next(number, place, page, number)


class Cursor(Paginator, frozen=True, kw_only=True, tag="cursor"):
    """Each page contains the cursor of the next one; a missing, null or empty cursor ends the sync."""

    cursor_path: str = "cursors.next"
    cursor_param: str = "after"
    limit: int | None = None
    limit_param: str = "limit"
    has_more_path: str | None = None

    def parameters(self, place: Place) -> dict[str, Token]:
        cursor = {} if place.token is None else {self.cursor_param: place.token}
        return {**_limit(self.limit_param, self.limit), **cursor}

    def next_place(self, place: Place, page: Page) -> Place | None:
        return _at_token(_token(self.cursor_path, self.has_more_path, page), place, page)


class _Linked(Paginator, frozen=True, kw_only=True):
    """Base of the paginators that follow links."""

    def link(self, place: Place) -> str | None:
        return None if place.token is None else str(place.token)


class JsonLink(_Linked, frozen=True, kw_only=True, tag="json_link"):
    """Each page contains the URL of the next one."""

    next_url_path: str = "next"
    has_more_path: str | None = None

    def next_place(self, place: Place, page: Page) -> Place | None:
        return _at_token(_token(self.next_url_path, self.has_more_path, page), place, page)


class HeaderLink(_Linked, frozen=True, kw_only=True, tag="header_link"):
    """The header `Link` contains the URL of the next page."""

    reads_text: ClassVar[bool] = True

    links_next_key: str = "next"

    def next_place(self, place: Place, page: Page) -> Place | None:
        return _at_token(page.links.get(self.links_next_key), place, page)


AnyPaginator = SinglePage | PageNumber | Offset | Cursor | JsonLink | HeaderLink


def _limit(parameter: str, limit: int | None) -> dict[str, Token]:
    return {} if limit is None else {parameter: limit}


def _at_token(token: Token | None, place: Place, page: Page) -> Place | None:
    return None if token in (None, "") else Place(token=token, rows=place.rows + len(page.rows))


def _token(path: str, has_more_path: str | None, page: Page) -> Token | None:
    """Returns the cursor or link of the next page, if there is one. Raises BadPage."""
    if _has_more(has_more_path, page) is False:
        return None
    token = jsonpath.first(page.document, path)
    if token is None or (isinstance(token, str | int) and not isinstance(token, bool)):
        return token
    raise BadPage(f"{path} should be a text or a whole number, and is {str(token)[:LONGEST_SHOWN]!r}")


def _has_more(path: str | None, page: Page) -> bool | None:
    """Returns None if the page does not say."""
    value = jsonpath.first(page.document, path) if path else None
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return None if value is None else bool(value)


def _total(path: str | None, page: Page) -> int | None:
    """Returns None if the page does not say. Raises BadPage."""
    value = jsonpath.first(page.document, path) if path else None
    if value is None:
        return None
    try:
        return int(value)
    except (TypeError, ValueError):
        raise BadPage(f"{path} should be a number, and is {str(value)[:LONGEST_SHOWN]!r}") from None
