"""Values that several messages and answers share."""

from typing import Literal

import msgspec


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the rows that were read. Units: rows.

    `checked` ones are good and not in the table: of a job that only validates, or of one that replaces, until its end.
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
        """Whether every row that was read is accounted for exactly once."""
        return self.rows_read == (
            self.inserted + self.updated + self.unchanged + self.duplicates + self.failed + self.checked
        )


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a piece of work could not be done: a stable code and a sentence for people."""

    code: str
    detail: str
    hint: str = ""


Format = Literal["csv", "ndjson", "json"]
Mode = Literal["upsert", "insert", "append", "replace"]


class Dialect(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a file is written; in the spool it is always UTF-8.

    Of CSV, `columns` stand in the order of the cells; one that begins with `_` is passed over. Of NDJSON and of a JSON
    array, whose rows name their values, they are the fields that rows may have.
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
    """What a job is to do with its rows, and when it is to give up.

    More failed rows than `max_errors`, or after a thousand rows a larger share than `max_error_rate`, end the job;
    `max_failed_rows` only limits how many of them are kept. A replacement that would leave less than `1 - max_shrink`
    of the rows is refused. A `strict` batch loads all of its rows or none.
    """

    mode: Mode = "upsert"
    validate_only: bool = False
    check_references: bool = False
    max_errors: int | None = None
    max_error_rate: float | None = None
    max_failed_rows: int = 100_000
    max_shrink: float = 0.5
    strict: bool = False
