"""Queries about sources: their declared schedules and their cursors."""

import msgspec

from shared.catalog.schedule import Schedule
from shared.db import Connection


async def select_schedules(db: Connection) -> dict[tuple[str, str], Schedule]:
    """Selects the declared schedules by dataset and source."""
    rows = await db.fetch(
        """
        SELECT d.name AS dataset, s.source->>'name' AS source, s.source->'schedule' AS schedule
        FROM ingestor.datasets d, json_array_elements(d.declaration->'sources') AS s (source)
        WHERE json_typeof(s.source->'schedule') = 'object'
        """
    )
    return {(row["dataset"], row["source"]): msgspec.convert(row["schedule"], Schedule) for row in rows}


async def select_cursors(db: Connection, dataset: str) -> dict[str, str | None]:
    """Selects the cursor of each source of the dataset."""
    rows = await db.fetch("SELECT source, cursor FROM ingestor.sources WHERE dataset = $1", dataset)
    return {row["source"]: row["cursor"] for row in rows}
