"""Queries about built rollups and counted chunks."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from services.analytics.rollup_tables import RollupTables
from shared.catalog.dataset import Dataset
from shared.catalog.rollup import Rollup
from shared.db import Connection
from shared.db.locks import BUILD_LOCK
from shared.reads.ingestor.tables import CHUNKS, DATASETS

LOCK_SECONDS = 900.0
COUNT_LOCK = 0x726F6C6C


async def lock_builds(db: Connection, dataset: str) -> None:
    """Serializes builds and rebuilds of a dataset's rollups until the transaction ends."""
    await db.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", BUILD_LOCK, dataset, timeout=LOCK_SECONDS)


async def lock_counts(db: Connection, dataset: str, *, exclusive: bool) -> None:
    """Locks a dataset's counts until the transaction ends: shared to count chunks, exclusive to finish a build."""
    shared = "" if exclusive else "_shared"
    await db.execute(
        f"SELECT pg_advisory_xact_lock{shared}($1, hashtext($2))", COUNT_LOCK, dataset, timeout=LOCK_SECONDS
    )


async def select_rollups(db: Connection, dataset: Dataset) -> list[RollupTables]:
    """Returns the built rollups by name. All writers use this order, which prevents deadlocks."""
    rows = await db.fetch("SELECT declaration FROM rollups WHERE dataset = $1 ORDER BY name", dataset.name)
    return [RollupTables(dataset, msgspec.convert(row["declaration"], Rollup)) for row in rows]


async def select_incomplete(db: Connection, dataset: str) -> set[str]:
    """Returns the built rollups that may lack chunks: they were built before a break in the declaration of rollups."""
    rows = await db.fetch(
        f"SELECT name FROM rollups WHERE dataset = $1"
        f" AND version < (SELECT counted_since FROM {DATASETS} WHERE name = $1)",
        dataset,
    )
    return {row["name"] for row in rows}


async def upsert_rollup(db: Connection, tables: RollupTables, version: int) -> None:
    """Records the declaration of a rollup that was built from this version, and the time of its build."""
    await db.execute(
        """
        INSERT INTO rollups (dataset, name, declaration, version) VALUES ($1, $2, $3, $4)
        ON CONFLICT (dataset, name) DO UPDATE
        SET declaration = excluded.declaration, version = excluded.version, built_at = now()
        """,
        tables.dataset.name,
        tables.rollup.name,
        msgspec.to_builtins(tables.rollup),
        version,
    )


async def delete_rollup(db: Connection, tables: RollupTables) -> None:
    """Deletes the record of a dropped rollup."""
    await db.execute("DELETE FROM rollups WHERE dataset = $1 AND name = $2", tables.dataset.name, tables.rollup.name)


async def select_outdated(db: Connection) -> list[str]:
    """Returns the names of datasets whose complete rollups differ from the declared ones."""
    rows = await db.fetch(
        f"""
        SELECT d.name, d.declaration->'rollups' AS declared,
               (SELECT json_agg(r.declaration ORDER BY r.name) FROM rollups r
                WHERE r.dataset = d.name AND r.version >= d.counted_since) AS standing
        FROM {DATASETS} d
        """
    )
    return [row["name"] for row in rows if _by_name(row["declared"]) != _by_name(row["standing"])]


async def claim_chunks(db: Connection, ledgers: Sequence[int]) -> list[int]:
    """Marks the chunks as counted; returns those that were not. Waits for concurrent transactions that count them."""
    rows = await db.fetch(
        "INSERT INTO chunks (ledger, groups) SELECT ledger, 0 FROM unnest($1::bigint[]) AS c (ledger)"
        " ORDER BY ledger ON CONFLICT DO NOTHING RETURNING ledger",
        ledgers,
        timeout=LOCK_SECONDS,
    )
    return [row["ledger"] for row in rows]


async def claim_loaded_chunks(db: Connection, dataset: str) -> list[int]:
    """Marks all loaded chunks of the dataset as counted; returns those that were not. Waits for concurrent counts."""
    rows = await db.fetch(
        f"""
        INSERT INTO chunks (ledger, groups)
        SELECT ledger, 0 FROM {CHUNKS} c
        WHERE dataset = $1 AND version > coalesce((SELECT counted FROM freshness WHERE dataset = $1), 0)
          AND NOT EXISTS (SELECT FROM chunks m WHERE m.ledger = c.ledger)
        ORDER BY ledger ON CONFLICT DO NOTHING RETURNING ledger
        """,
        dataset,
        timeout=LOCK_SECONDS,
    )
    return [row["ledger"] for row in rows]


async def update_groups(db: Connection, groups: Mapping[int, int]) -> None:
    """Records how many groups each of the chunks, by ledger number, changed."""
    await db.execute(
        "UPDATE chunks c SET groups = g.groups FROM unnest($1::bigint[], $2::bigint[]) AS g (ledger, groups)"
        " WHERE c.ledger = g.ledger",
        list(groups),
        list(groups.values()),
    )


async def select_counted_since(db: Connection, dataset: str, version: int) -> list[int]:
    """Returns the counted chunks that were loaded after this version of the dataset."""
    rows = await db.fetch(
        f"SELECT ledger FROM {CHUNKS} c JOIN chunks USING (ledger) WHERE dataset = $1 AND version > $2",
        dataset,
        version,
    )
    return [row["ledger"] for row in rows]


async def delete_freshness(db: Connection, dataset: str) -> None:
    """Deletes the watermark of a dataset that has no rollups any more."""
    await db.execute("DELETE FROM freshness WHERE dataset = $1", dataset)


def _by_name(declarations: Sequence[Any] | None) -> dict[str, Rollup]:
    rollups = msgspec.convert(declarations or [], list[Rollup])
    return {rollup.name: rollup for rollup in rollups}
