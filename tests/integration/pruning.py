"""Runs steps of the retention of the ingestor."""

import asyncpg

from services.ingestor.before_images import delete_before_images
from shared.db import Pool
from shared.retention import Delete, Position


async def prune(pool: Pool, delete: Delete = delete_before_images, days: int = 0) -> int:
    """Deletes until the end of the table; returns how many rows."""
    position: Position = None
    total = 0
    while True:
        async with pool.acquire() as db, db.transaction():
            step = await delete(db, days, position)
        total += step.deleted
        if step.position is None:
            return total
        position = step.position


async def mark_counted(admin: asyncpg.Connection) -> None:
    """As analytics does with chunks of datasets without rollups."""
    await admin.execute(
        "INSERT INTO analytics.chunks (ledger, groups) SELECT ledger, 0 FROM ingestor.chunks"
        " WHERE loaded_at IS NOT NULL ON CONFLICT DO NOTHING"
    )


async def mark_indexed(admin: asyncpg.Connection) -> None:
    """As the indexer does with chunks of datasets without search."""
    await admin.execute(
        "INSERT INTO indexer.chunks (ledger, documents) SELECT ledger, 0 FROM ingestor.chunks"
        " WHERE loaded_at IS NOT NULL ON CONFLICT DO NOTHING"
    )
