"""Queries about built rollups, counted chunks and finished refreshes."""

from collections.abc import Sequence
from typing import Any

import msgspec

from services.analytics.rollup_tables import RollupTables
from shared.catalog.dataset import Dataset
from shared.catalog.rollup import Rollup
from shared.contracts.events import DatasetDeclared, ReportRefreshed, RollupRebuilt
from shared.db import Connection
from shared.db.locks import BUILD_LOCK

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


async def upsert_rollup(db: Connection, tables: RollupTables) -> None:
    """Records the declaration of a built rollup and the time of its build."""
    await db.execute(
        """
        INSERT INTO rollups (dataset, name, declaration) VALUES ($1, $2, $3)
        ON CONFLICT (dataset, name) DO UPDATE SET declaration = excluded.declaration, built_at = now()
        """,
        tables.dataset.name,
        tables.rollup.name,
        msgspec.to_builtins(tables.rollup),
    )


async def delete_rollup(db: Connection, tables: RollupTables) -> None:
    """Deletes the record of a dropped rollup."""
    await db.execute("DELETE FROM rollups WHERE dataset = $1 AND name = $2", tables.dataset.name, tables.rollup.name)


async def select_outdated(db: Connection, *, seconds: float = 0) -> list[DatasetDeclared]:
    """Returns datasets whose built rollups differ from the declared ones.

    `seconds` is the minimum age of the declaration; if it is not 0, datasets with a running build are left out.
    """
    rows = await db.fetch(
        """
        SELECT d.name, d.revision, d.declaration->'rollups' AS declared,
               (SELECT json_agg(r.declaration ORDER BY r.name) FROM rollups r WHERE r.dataset = d.name) AS standing
        FROM ingestor.datasets d WHERE d.declared_at < now() - $1 * interval '1 second'
        """,
        seconds,
    )
    outdated = [row for row in rows if _by_name(row["declared"]) != _by_name(row["standing"])]
    return [
        DatasetDeclared(dataset=row["name"], revision=row["revision"])
        for row in outdated
        if not seconds or await _try_lock_builds(db, row["name"])
    ]


async def claim_chunk(db: Connection, ledger: int) -> bool:
    """Marks the chunk as counted; returns False if it was. Waits for a concurrent transaction that counts it."""
    return bool(
        await db.fetchval(
            "INSERT INTO chunks (ledger, groups) VALUES ($1, 0) ON CONFLICT DO NOTHING RETURNING true",
            ledger,
            timeout=LOCK_SECONDS,
        )
    )


async def claim_loaded_chunks(db: Connection, dataset: str) -> list[int]:
    """Marks all loaded chunks of the dataset as counted; returns those that were not. Waits for concurrent counts."""
    rows = await db.fetch(
        """
        INSERT INTO chunks (ledger, groups)
        SELECT ledger, 0 FROM ingestor.chunks c
        WHERE dataset = $1 AND version > coalesce((SELECT counted FROM freshness WHERE dataset = $1), 0)
          AND NOT EXISTS (SELECT FROM chunks m WHERE m.ledger = c.ledger)
        ORDER BY ledger ON CONFLICT DO NOTHING RETURNING ledger
        """,
        dataset,
        timeout=LOCK_SECONDS,
    )
    return [row["ledger"] for row in rows]


async def update_groups(db: Connection, ledger: int, groups: int) -> None:
    """Records how many groups the chunk changed."""
    await db.execute("UPDATE chunks SET groups = $2 WHERE ledger = $1", ledger, groups)


async def select_counted_since(db: Connection, dataset: str, version: int) -> list[int]:
    """Returns the counted chunks that were loaded after this version of the dataset."""
    rows = await db.fetch(
        "SELECT ledger FROM ingestor.chunks c JOIN chunks USING (ledger) WHERE dataset = $1 AND version > $2",
        dataset,
        version,
    )
    return [row["ledger"] for row in rows]


async def select_partitions(db: Connection, dataset: str) -> list[int]:
    """Returns the OIDs of the partitions of the dataset's table."""
    rows = await db.fetch(
        "SELECT inhrelid::bigint FROM pg_inherits WHERE inhparent = $1::text::regclass ORDER BY 1", f'data."{dataset}"'
    )
    return [row["inhrelid"] for row in rows]


async def select_version(db: Connection, dataset: str) -> int:
    """Returns the version of the dataset's rows."""
    version: int = await db.fetchval("SELECT version FROM ingestor.datasets WHERE name = $1", dataset)
    return version


async def delete_freshness(db: Connection, dataset: str) -> None:
    """Deletes the watermark of a dataset that has no rollups any more."""
    await db.execute("DELETE FROM freshness WHERE dataset = $1", dataset)


async def insert_refresh(db: Connection, event: ReportRefreshed | RollupRebuilt, round_: int = 1) -> None:
    """Keeps the event of a finished refresh or rebuild, in case its message is lost."""
    await db.execute(
        "INSERT INTO refreshes (job_id, round, event) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        event.job_id,
        round_,
        msgspec.to_builtins(event),
    )


async def _try_lock_builds(db: Connection, dataset: str) -> bool:
    """Like `lock_builds`, but returns False instead of waiting."""
    return bool(await db.fetchval("SELECT pg_try_advisory_xact_lock($1, hashtext($2))", BUILD_LOCK, dataset))


def _by_name(declarations: Sequence[Any] | None) -> dict[str, Rollup]:
    rollups = msgspec.convert(declarations or [], list[Rollup])
    return {rollup.name: rollup for rollup in rollups}
