"""Runs steps of the retention of the ingestor."""

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
