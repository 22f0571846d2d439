"""Advisory locks until the transaction ends, among them those of a dataset that more than one service takes."""

from shared.db.pool import Connection

DOCUMENTS_LOCK = 0x646F6373
"""The indexer: shared to add documents, exclusive to delete some or to plan a generation."""
BUILD_LOCK = 0x6D616B65
"""Analytics: exclusive to build rollups from a snapshot."""


async def lock_readers_out(db: Connection, dataset: str) -> bool:
    """Keeps generations from being planned and rollups from being built; returns False if one is just now."""
    return bool(
        await db.fetchval(
            "SELECT pg_try_advisory_xact_lock_shared($1, hashtext($3)) AND"
            " pg_try_advisory_xact_lock_shared($2, hashtext($3))",
            DOCUMENTS_LOCK,
            BUILD_LOCK,
            dataset,
        )
    )


async def try_lock(db: Connection, lock: int, name: str) -> bool:
    """Locks `name` for a purpose until the transaction ends; returns False if another transaction has the lock."""
    return bool(await db.fetchval("SELECT pg_try_advisory_xact_lock($1, hashtext($2))", lock, name))
