"""The published tables of analytics: rollups, and the versions up to which datasets are counted."""

import datetime as dt
from collections.abc import Sequence

import msgspec

from shared.catalog.rollup import Rollup
from shared.db import Connection

ROLLUPS_SCHEMA = "rollups"
"""The schema with the tables of all rollups."""
COUNTED_CHUNKS = "analytics.chunks"
"""Marks of the chunks that are counted: `ledger` is the chunk's number in the ingestor's ledger."""


class RollupState(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of a rollup's table, if it exists, and its progress."""

    columns: tuple[str, ...]
    groups: int
    version: int
    dataset_version: int
    built_at: dt.datetime | None


class DatasetFreshness(msgspec.Struct, frozen=True, kw_only=True):
    """The freshness of a dataset at `now`: the version of its rows, and the version up to which they are `counted`.

    `lag_seconds` is the age of the oldest chunk that is loaded and not counted. `uncounted` is true before the first
    count. `built` has the times at which the rollups were built, by their names.
    """

    name: str
    version: int
    counted: int
    uncounted: bool
    now: dt.datetime
    lag_seconds: float | None
    built: list[dt.datetime] | None


def rollup_name(rollup: Rollup, dataset: str) -> str:
    """Returns the name of a rollup's table as users write it."""
    return f"{ROLLUPS_SCHEMA}.{rollup.table(dataset)}"


def rollup_table(rollup: Rollup, dataset: str) -> str:
    """Returns the quoted table of a rollup."""
    return f'{ROLLUPS_SCHEMA}."{rollup.table(dataset)}"'


async def select_rollup(db: Connection, dataset: str, rollup: Rollup) -> RollupState:
    """Selects the state of a rollup."""
    table = rollup_table(rollup, dataset)
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
    state = dict(row or {})
    groups = await db.fetchval(f"SELECT count(*) FROM {table}") if state["columns"] else 0
    return msgspec.convert({**state, "groups": groups}, RollupState)


async def select_freshness(db: Connection, datasets: Sequence[str]) -> dict[str, DatasetFreshness]:
    """Selects the freshness of the datasets, by name."""
    rows = await db.fetch(
        """
        SELECT d.name, d.version, coalesce(f.counted, 0) AS counted, f.dataset IS NULL AS uncounted, now() AS now,
               CASE WHEN d.version > coalesce(f.counted, 0) THEN (
                   SELECT extract(epoch FROM clock_timestamp() - min(c.loaded_at))::float8
                   FROM ingestor.chunks c LEFT JOIN analytics.chunks a USING (ledger)
                   WHERE c.dataset = d.name AND c.version > coalesce(f.counted, 0) AND a.ledger IS NULL
               ) END AS lag_seconds,
               (SELECT array_agg(r.built_at ORDER BY r.name) FROM analytics.rollups r WHERE r.dataset = d.name) AS built
        FROM ingestor.datasets d LEFT JOIN analytics.freshness f ON f.dataset = d.name WHERE d.name = ANY($1::text[])
        """,
        datasets,
    )
    return {row["name"]: DatasetFreshness(**row) for row in rows}
