"""Declarations of sources: HTTP APIs that datasets are synced from, in the words of dlt."""

from typing import Literal

import msgspec

from shared.catalog.paginators import AnyPaginator, SinglePage
from shared.catalog.schedule import Schedule


class _Auth(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type"
):
    """Base of authentications; `type` chooses one."""


class Bearer(_Auth, frozen=True, kw_only=True, tag="bearer"):
    """`Authorization: Bearer …`. Secrets are named here, and told to the services that ask."""

    secret: str


class HttpBasic(_Auth, frozen=True, kw_only=True, tag="http_basic"):
    """User name and password."""

    username: str
    secret: str


class ApiKey(_Auth, frozen=True, kw_only=True, tag="api_key"):
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
    paginator: AnyPaginator = SinglePage()
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
