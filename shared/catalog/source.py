"""Declaration of a source: an HTTP API that rows are pulled from. Names follow dlt's REST API source."""

from typing import Literal

import msgspec

from shared.catalog.paginators import AnyPaginator, SinglePage
from shared.catalog.schedule import Schedule


class _Auth(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type"
):
    """Base of the authentications, which are distinguished by `type`."""


class Bearer(_Auth, frozen=True, kw_only=True, tag="bearer"):
    """`Authorization: Bearer …`. `secret` is a name; the value comes from the environment of the service."""

    secret: str


class HttpBasic(_Auth, frozen=True, kw_only=True, tag="http_basic"):
    """HTTP basic authentication."""

    username: str
    secret: str


class ApiKey(_Auth, frozen=True, kw_only=True, tag="api_key"):
    """A header or a query parameter called `name`."""

    secret: str
    name: str = "X-Api-Key"
    location: Literal["header", "query"] = "header"


Auth = Bearer | HttpBasic | ApiKey


class Incremental(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Pulls only changes: `start_param` is the highest value at `cursor_path` of all rows so far.

    With `row_order = "asc"` that value is saved with each page, otherwise with the last page.
    """

    cursor_path: str
    start_param: str
    initial_value: str | int | None = None
    row_order: Literal["asc"] | None = None


class DeleteMissing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Deletes rows whose `id_field` the source no longer has, unless their share exceeds `max_shrink`."""

    id_field: str
    max_shrink: float = 0.5


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A declaration. `url` may begin with a variable like `${SOURCE_CRM}`; `data_selector` is the path of the rows.

    `fields` maps fields to paths in a row; by default, each key of a row that is a field's name is loaded. `max_bytes`
    limits a page. `max_pages`, `max_rows` and `max_seconds` end a sync with a warning; too many errors stop it.
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
