"""Values that several messages and answers share."""

import msgspec


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the rows that were read. Units: rows."""

    rows_read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    duplicates: int = 0
    failed: int = 0

    def balanced(self) -> bool:
        """Whether every row that was read is accounted for exactly once."""
        return self.rows_read == self.inserted + self.updated + self.unchanged + self.duplicates + self.failed


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a piece of work could not be done: a stable code and a sentence for people."""

    code: str
    detail: str
    hint: str = ""


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How a CSV file is written: its columns in the order they stand, and whether a header line names them."""

    columns: tuple[str, ...]
    header: bool
    delimiter: str = ","
