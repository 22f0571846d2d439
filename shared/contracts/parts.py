"""Structs that are part of several messages and responses."""

from typing import Literal

import msgspec


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of rows by result.

    `checked` rows are valid but not in the table: the job only validates, or has not replaced the table yet.
    `deleted` rows were in the table and not in the input.
    """

    rows_read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    duplicates: int = 0
    failed: int = 0
    checked: int = 0
    deleted: int = 0

    def balanced(self) -> bool:
        """Returns whether the results of the rows add up to `rows_read`."""
        return self.rows_read == (
            self.inserted + self.updated + self.unchanged + self.duplicates + self.failed + self.checked
        )


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why work failed: a stable code, a sentence for people and a hint on how to fix it."""

    code: str
    detail: str
    hint: str = ""


Format = Literal["csv", "ndjson", "json"]
Mode = Literal["upsert", "insert", "append", "replace"]


class Dialect(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Format of a file in the spool, where it is always UTF-8.

    For CSV, `columns` are in the order of the cells, and those that begin with `_` are ignored. For NDJSON and a JSON
    array, `columns` are the fields that rows may have.
    """

    columns: tuple[str, ...]
    header: bool
    delimiter: str = ","
    quote: str = '"'
    format: Format = "csv"

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns that are fields of the dataset."""
        return tuple(name for name in self.columns if not name.startswith("_"))


class LoadOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Options for loading rows: the mode, the checks, and when the job stops.

    A job stops when more than `max_errors` rows fail, or after a thousand rows a larger share than `max_error_rate`.
    `max_failed_rows` only limits how many failed rows are stored. A replacement must keep at least `1 - max_shrink` of
    the rows. A `strict` batch loads all of its rows or none.
    """

    mode: Mode = "upsert"
    validate_only: bool = False
    check_references: bool = False
    max_errors: int | None = None
    max_error_rate: float | None = None
    max_failed_rows: int = 100_000
    max_shrink: float = 0.5
    strict: bool = False
