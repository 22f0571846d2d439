"""A source: an outside HTTP API that a dataset can be pulled from. In dlt's words where it has one."""

from typing import Literal

import msgspec

from shared.catalog.schedule import Schedule


class _Choice(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type"
):
    """One of several kinds, told apart by `type`."""


class SinglePage(_Choice, frozen=True, kw_only=True, tag="single_page"):
    """One request brings everything."""


class PageNumber(_Choice, frozen=True, kw_only=True, tag="page_number"):
    """Pages are numbered from `base_page`; `maximum_page` is the last one that is asked for.

    `total_path` leads to how many `pages`, or else `rows`, there are.
    """

    base_page: int = 0
    page_param: str = "page"
    limit: int | None = None
    limit_param: str = "limit"
    total_path: str | None = None
    total_of: Literal["pages", "rows"] = "pages"
    maximum_page: int | None = None
    has_more_path: str | None = None
    stop_after_empty_page: bool = True


class Offset(_Choice, frozen=True, kw_only=True, tag="offset"):
    """Each page begins after as many rows as have come; none beyond `maximum_offset` is asked for."""

    limit: int
    limit_param: str = "limit"
    offset: int = 0
    offset_param: str = "offset"
    total_path: str | None = None
    maximum_offset: int | None = None
    has_more_path: str | None = None
    stop_after_empty_page: bool = True


class Cursor(_Choice, frozen=True, kw_only=True, tag="cursor"):
    """Each page tells the cursor of the next one; none, null or an empty text ends it."""

    cursor_path: str = "cursors.next"
    cursor_param: str = "after"
    limit: int | None = None
    limit_param: str = "limit"
    has_more_path: str | None = None


class JsonLink(_Choice, frozen=True, kw_only=True, tag="json_link"):
    """Each page tells the URL of the next one."""

    next_url_path: str = "next"
    has_more_path: str | None = None


class HeaderLink(_Choice, frozen=True, kw_only=True, tag="header_link"):
    """The header `Link` tells the URL of the next page."""

    links_next_key: str = "next"


Paginator = SinglePage | PageNumber | Offset | Cursor | JsonLink | HeaderLink


class Bearer(_Choice, frozen=True, kw_only=True, tag="bearer"):
    """`Authorization: Bearer …`. Secrets are named here, and told to the services that ask."""

    secret: str


class HttpBasic(_Choice, frozen=True, kw_only=True, tag="http_basic"):
    """User name and password."""

    username: str
    secret: str


class ApiKey(_Choice, frozen=True, kw_only=True, tag="api_key"):
    """A header or a query parameter called `name`."""

    secret: str
    name: str = "X-Api-Key"
    location: Literal["header", "query"] = "header"


Auth = Bearer | HttpBasic | ApiKey


class Incremental(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Only what has changed: the highest value at `cursor_path` of all rows so far is sent as `start_param`.

    With `row_order = "asc"` it counts as soon as its page is loaded, otherwise when the last page is.
    """

    cursor_path: str
    start_param: str
    initial_value: str | int | None = None
    row_order: Literal["asc"] | None = None


class DeleteMissing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Rows whose `id_field` the source has no longer are deleted, unless they are more than the share `max_shrink`."""

    id_field: str
    max_shrink: float = 0.5


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`url` may begin with a variable like `${SOURCE_CRM}`; `data_selector` leads from a page to its rows.

    `fields` says where in a row the value of each field is; without it, those keys count that are fields. `max_bytes`
    limits one page; `max_pages`, `max_rows` and `max_seconds` end a sync with a warning, too many errors stop it.
    """

    name: str
    url: str
    params: dict[str, str | int | float | bool] = {}
    headers: dict[str, str] = {}
    format: Literal["json", "text"] = "json"
    data_selector: str = "$"
    paginator: Paginator = SinglePage()
    auth: Auth | None = None
    fields: dict[str, str] = {}
    incremental: Incremental | None = None
    delete_missing: DeleteMissing | None = None
    max_pages: int = 10_000
    max_rows: int = 10_000_000
    max_seconds: float = 3600
    max_bytes: int = 16 << 20
    max_errors: int | None = None
    max_error_rate: float | None = None
    timeout_seconds: float = 30
    requests_per_second: float | None = None
    schedule: Schedule | None = None
