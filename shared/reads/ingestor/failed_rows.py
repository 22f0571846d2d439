"""Queries about failed rows: the rows that a job refused."""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from shared.contracts.failures import CUT_OFF, UNREADABLE
from shared.db import Connection

RowState = Literal["open", "replayed", "discarded"]
WITHOUT_NUL = r"^[^\0]*$"
"""A pattern: Postgres does not accept NUL in text."""


class ErrorFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Selects rows with an error of this code in this column; by default all rows. The column "" is the whole row."""

    code: Annotated[str, msgspec.Meta(pattern=WITHOUT_NUL)] | None = None
    column: Annotated[str, msgspec.Meta(pattern=WITHOUT_NUL)] | None = None

    @property
    def error(self) -> list[dict[str, str]]:
        """The JSON that `errors` must contain."""
        conditions = {"code": self.code, "column": self.column}
        return [{name: value for name, value in conditions.items() if value is not None}]


ALL = ErrorFilter()


class FailedRow(msgspec.Struct, frozen=True):
    """A refused row: its line, its raw text, all its errors and its state.

    `resolved_by` is the job that replayed the row, or the request that discarded it.
    """

    id: int
    line: int
    raw: str
    errors: list[dict[str, Any]]
    state: RowState
    resolved_by: UUID | None


class ErrorCount(msgspec.Struct, frozen=True):
    """The number of rows with an error of this code in this column. A row may have several errors."""

    code: str
    column: str
    rows: int


async def select_failed_rows(
    db: Connection,
    job_id: UUID,
    *,
    after: int,
    limit: int,
    error_filter: ErrorFilter = ALL,
    state: RowState | None = None,
) -> list[FailedRow]:
    """Returns a page in the order of the input's lines; `after` is the last id of the previous page."""
    rows = await db.fetch(
        """
        SELECT id, line, raw, errors, state, resolved_by FROM ingestor.failed_rows
        WHERE job_id = $1 AND errors @> $4 AND ($5::text IS NULL OR state = $5)
          AND (line, id) > (coalesce((SELECT line FROM ingestor.failed_rows WHERE id = $2), 0), $2)
        ORDER BY line, id LIMIT $3
        """,
        job_id,
        after,
        limit,
        error_filter.error,
        state,
    )
    return [FailedRow(**row) for row in rows]


async def select_counts(db: Connection, job_id: UUID) -> tuple[int, list[ErrorCount]]:
    """Returns the number of failed rows, kept or not, and the counts per error, most frequent first."""
    total: int = await db.fetchval(
        "SELECT coalesce(sum(failed), 0)::bigint FROM ingestor.chunks WHERE job_id = $1", job_id
    )
    rows = await db.fetch(
        """
        SELECT code, "column", sum(rows)::bigint AS rows FROM ingestor.failures WHERE job_id = $1
        GROUP BY code, "column" ORDER BY rows DESC, code, "column"
        """,
        job_id,
    )
    return total, [ErrorCount(**row) for row in rows]


async def count_open(db: Connection, job_id: UUID, error_filter: ErrorFilter) -> tuple[int, int]:
    """Returns the number of open rows that can be replayed as they are, and of those that must be fixed first."""
    row = await db.fetchrow(
        r"""
        SELECT count(*) FILTER (WHERE NOT unreadable), count(*) FILTER (WHERE unreadable)
        FROM ingestor.failed_rows, LATERAL (
            SELECT octet_length(raw) >= $3 OR raw !~ '[^ \t\r\n]'
                   OR EXISTS (SELECT FROM jsonb_array_elements(errors) e WHERE e->>'code' = ANY($4)) AS unreadable
        ) u
        WHERE job_id = $1 AND state = 'open' AND errors @> $2
        """,
        job_id,
        error_filter.error,
        CUT_OFF,
        list(UNREADABLE),
    )
    return (row[0], row[1]) if row else (0, 0)


async def count_discarded(db: Connection, request_id: UUID) -> int:
    """Counts the rows that a request discarded."""
    count: int = await db.fetchval("SELECT count(*) FROM ingestor.failed_rows WHERE resolved_by = $1", request_id)
    return count
