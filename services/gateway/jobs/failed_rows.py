"""Queries of the rows that jobs have refused, as the ingestor keeps them."""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from shared.contracts.failures import CUT_OFF, UNREADABLE
from shared.contracts.parts import Dialect, LoadOptions
from shared.db import Connection

State = Literal["open", "replayed", "discarded"]
SAYABLE = r"^[^\0]*$"
"""Postgres can't be asked for a NUL."""


class Chosen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows that have an error of this code, in this column; all without either. The column "" is the row as a whole."""

    code: Annotated[str, msgspec.Meta(pattern=SAYABLE)] | None = None
    column: Annotated[str, msgspec.Meta(pattern=SAYABLE)] | None = None

    @property
    def error(self) -> list[dict[str, str]]:
        """What `errors` must contain."""
        given = {"code": self.code, "column": self.column}
        return [{name: value for name, value in given.items() if value is not None}]


ALL = Chosen()


class FailedRow(msgspec.Struct, frozen=True):
    """A refused row: where it stood, what it said, everything that is wrong about it, and what has become of it.

    `resolved_by` is the job that took it up again, or the request that discarded it.
    """

    id: int
    line: int
    raw: str
    errors: list[dict[str, Any]]
    state: State
    resolved_by: UUID | None


class Count(msgspec.Struct, frozen=True):
    """So many rows have an error of this code in this column; a row may have several."""

    code: str
    column: str
    rows: int


class Input(msgspec.Struct, frozen=True):
    """How the rows of a job were written, what was to be done with them, and how many refused ones are kept."""

    dialect: Dialect
    load_options: LoadOptions
    failed_kept: int


async def select_input(db: Connection, job_id: UUID) -> Input | None:
    """None as long as the ingestor knows nothing of the job."""
    row = await db.fetchrow("SELECT dialect, load_options, failed_kept FROM ingestor.imports WHERE job_id = $1", job_id)
    return msgspec.convert(dict(row), Input) if row else None


async def select_failed_rows(
    db: Connection,
    job_id: UUID,
    *,
    after: int,
    limit: int,
    chosen: Chosen = ALL,
    state: State | None = None,
) -> list[FailedRow]:
    """In the order of the input's lines; `after` is the last id of the page before."""
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
        chosen.error,
        state,
    )
    return [FailedRow(**row) for row in rows]


async def select_counts(db: Connection, job_id: UUID) -> tuple[int, list[Count]]:
    """How many rows failed, and how many of them how; the most frequent errors first. All, however few are kept."""
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
    return total, [Count(**row) for row in rows]


async def count_open(db: Connection, job_id: UUID, chosen: Chosen) -> tuple[int, int]:
    """How many open rows can be taken up again as they are, and how many have to be mended first."""
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
        chosen.error,
        CUT_OFF,
        list(UNREADABLE),
    )
    return (row[0], row[1]) if row else (0, 0)


async def count_discarded(db: Connection, message_id: UUID, request_id: UUID) -> int | None:
    """How many rows a request has discarded; None as long as the ingestor has not heard of it."""
    row = await db.fetchrow(
        """
        SELECT (SELECT true FROM ingestor.inbox WHERE id = $1) AS heard,
               (SELECT count(*) FROM ingestor.failed_rows WHERE resolved_by = $2) AS discarded
        """,
        message_id,
        request_id,
    )
    return row["discarded"] if row and row["heard"] else None
