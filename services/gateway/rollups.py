"""Queries of the rollups that analytics keeps."""

import datetime as dt
from uuid import UUID

import msgspec

from shared.catalog.rollup import Rollup
from shared.db import Connection


class Stands(msgspec.Struct, frozen=True, kw_only=True):
    """A rollup's table, if it is there, and how far it is."""

    columns: tuple[str, ...]
    groups: int
    version: int
    dataset_version: int
    built_at: dt.datetime | None


async def select_rollup(db: Connection, dataset: str, rollup: Rollup) -> Stands:
    """As it stands."""
    table = f'rollups."{rollup.table(dataset)}"'
    row = await db.fetchrow(
        """
        SELECT d.version AS dataset_version, coalesce(f.counted, 0) AS version, r.built_at,
               coalesce((
                   SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
                   WHERE a.attrelid = to_regclass($3) AND a.attnum > 0 AND NOT a.attisdropped AND a.attname !~ '^_'
               ), '{}') AS columns
        FROM ingestor.datasets d
        LEFT JOIN analytics.freshness f ON f.dataset = d.name
        LEFT JOIN analytics.rollups r ON r.dataset = d.name AND r.name = $2
        WHERE d.name = $1
        """,
        dataset,
        rollup.name,
        table,
    )
    about = dict(row or {})
    groups = await db.fetchval(f"SELECT count(*) FROM {table}") if about["columns"] else 0
    return msgspec.convert({**about, "groups": groups}, Stands)


async def select_last_rebuild(db: Connection, dataset: str, rollup: str) -> UUID | None:
    """The newest job that built it anew."""
    found: UUID | None = await db.fetchval(
        "SELECT id FROM jobs WHERE kind = 'rebuild' AND dataset = $1 AND target = $2 ORDER BY id DESC LIMIT 1",
        dataset,
        rollup,
    )
    return found
