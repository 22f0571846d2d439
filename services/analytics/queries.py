"""What analytics remembers: the rollups that stand, which chunks they contain, and what it was asked to do."""

from collections.abc import Sequence
from typing import Any

import msgspec

from services.analytics.rollups import Tables
from shared.catalog.dataset import Dataset
from shared.catalog.rollup import Rollup
from shared.contracts.events import DatasetDeclared, ReportRefreshed, RollupRebuilt
from shared.db import Connection

CLAIM_SECONDS = 900.0
BUILDING = 0x6D616B65
COUNTING = 0x726F6C6C
KEPT_DAYS = 8
"""As long as an inbox remembers that the message was heard."""


async def lock_building(db: Connection, dataset: str) -> None:
    """One at a time makes rollups of a dataset, or mends one; until the transaction ends."""
    await db.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", BUILDING, dataset, timeout=CLAIM_SECONDS)


async def lock_counting(db: Connection, dataset: str, *, alone: bool) -> None:
    """Until the transaction ends. Those who count chunks share it; who brings a rollup up to what they did is alone."""
    shared = "" if alone else "_shared"
    await db.execute(
        f"SELECT pg_advisory_xact_lock{shared}($1, hashtext($2))", COUNTING, dataset, timeout=CLAIM_SECONDS
    )


async def select_standing(db: Connection, dataset: Dataset) -> list[Tables]:
    """In the order of their names, in which everybody changes them."""
    rows = await db.fetch("SELECT declaration FROM rollups WHERE dataset = $1 ORDER BY name", dataset.name)
    return [Tables(dataset, msgspec.convert(row["declaration"], Rollup)) for row in rows]


async def upsert_standing(db: Connection, tables: Tables) -> None:
    """That the rollup stands as it is declared."""
    await db.execute(
        """
        INSERT INTO rollups (dataset, name, declaration) VALUES ($1, $2, $3)
        ON CONFLICT (dataset, name) DO UPDATE SET declaration = excluded.declaration, built_at = now()
        """,
        tables.dataset.name,
        tables.rollup.name,
        msgspec.to_builtins(tables.rollup),
    )


async def delete_standing(db: Connection, tables: Tables) -> None:
    """That it stands no longer."""
    await db.execute("DELETE FROM rollups WHERE dataset = $1 AND name = $2", tables.dataset.name, tables.rollup.name)


async def select_unprepared(db: Connection, *, seconds: float = 0) -> list[DatasetDeclared]:
    """Datasets, declared so long ago, whose rollups are not those that stand; unless somebody is making them."""
    rows = await db.fetch(
        """
        SELECT d.name, d.revision, d.declaration->'rollups' AS declared,
               (SELECT json_agg(r.declaration ORDER BY r.name) FROM rollups r WHERE r.dataset = d.name) AS standing
        FROM ingestor.datasets d WHERE d.declared_at < now() - $1 * interval '1 second'
        """,
        seconds,
    )
    found = [row for row in rows if _by_name(row["declared"]) != _by_name(row["standing"])]
    return [
        DatasetDeclared(dataset=row["name"], revision=row["revision"])
        for row in found
        if not seconds or await _is_free(db, row["name"])
    ]


async def claim_chunk(db: Connection, ledger: int) -> bool:
    """False if the rollups contain the chunk: adding it twice would be wrong. Waits for whoever else counts it."""
    return bool(
        await db.fetchval(
            "INSERT INTO chunks (ledger, groups) VALUES ($1, 0) ON CONFLICT DO NOTHING RETURNING true",
            ledger,
            timeout=CLAIM_SECONDS,
        )
    )


async def claim_loaded(db: Connection, dataset: str) -> list[int]:
    """All chunks of the dataset that are loaded and not counted. Waits for whoever else counts some."""
    rows = await db.fetch(
        """
        INSERT INTO chunks (ledger, groups)
        SELECT ledger, 0 FROM ingestor.chunks c
        WHERE dataset = $1 AND version > coalesce((SELECT counted FROM freshness WHERE dataset = $1), 0)
          AND NOT EXISTS (SELECT FROM chunks m WHERE m.ledger = c.ledger)
        ORDER BY ledger ON CONFLICT DO NOTHING RETURNING ledger
        """,
        dataset,
        timeout=CLAIM_SECONDS,
    )
    return [row["ledger"] for row in rows]


async def update_groups(db: Connection, ledger: int, groups: int) -> None:
    """How many groups the chunk touched."""
    await db.execute("UPDATE chunks SET groups = $2 WHERE ledger = $1", ledger, groups)


async def select_counted_since(db: Connection, dataset: str, version: int) -> list[int]:
    """Chunks that are counted, and loaded after this version of the dataset."""
    rows = await db.fetch(
        "SELECT ledger FROM ingestor.chunks c JOIN chunks USING (ledger) WHERE dataset = $1 AND version > $2",
        dataset,
        version,
    )
    return [row["ledger"] for row in rows]


async def select_partitions(db: Connection, dataset: str) -> list[int]:
    """Of the dataset's table, by Postgres' own numbers."""
    rows = await db.fetch(
        "SELECT inhrelid::bigint FROM pg_inherits WHERE inhparent = $1::text::regclass ORDER BY 1", f'data."{dataset}"'
    )
    return [row["inhrelid"] for row in rows]


async def select_version(db: Connection, dataset: str) -> int:
    """Of the dataset's rows."""
    version: int = await db.fetchval("SELECT version FROM ingestor.datasets WHERE name = $1", dataset)
    return version


async def delete_freshness(db: Connection, dataset: str) -> None:
    """Of a dataset without rollups."""
    await db.execute("DELETE FROM freshness WHERE dataset = $1", dataset)


async def insert_refresh(db: Connection, event: ReportRefreshed | RollupRebuilt, round_: int = 1) -> None:
    """The event that tells of it, should it be lost."""
    await db.execute(
        "INSERT INTO refreshes (job_id, round, event) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        event.job_id,
        round_,
        msgspec.to_builtins(event),
    )


async def delete_refreshes(db: Connection) -> None:
    """Whoever waits for them has given up."""
    await db.execute("DELETE FROM refreshes WHERE done_at < now() - $1 * interval '1 day'", KEPT_DAYS)


async def _is_free(db: Connection, dataset: str) -> bool:
    """Until the transaction ends."""
    return bool(await db.fetchval("SELECT pg_try_advisory_xact_lock($1, hashtext($2))", BUILDING, dataset))


def _by_name(declarations: Sequence[Any] | None) -> dict[str, Rollup]:
    rollups = msgspec.convert(declarations or [], list[Rollup])
    return {rollup.name: rollup for rollup in rollups}
