"""Queries about results of search jobs."""

import msgspec

from shared.contracts.commands import RunSearch
from shared.db import Connection
from shared.search.query import SearchResults

EXACT = msgspec.json.Encoder(decimal_format="number")


async def insert_search(db: Connection, command: RunSearch, found: SearchResults) -> None:
    """Stores the result until it expires; each hit is an array element, so that pages can be read."""
    await db.execute(
        "INSERT INTO searches (job_id, dataset, question, hits, answer) VALUES ($1, $2, $3, $4::json[], $5)",
        command.job_id,
        command.dataset,
        command.query,
        [msgspec.Raw(EXACT.encode(hit)) for hit in found.data],
        msgspec.Raw(EXACT.encode(msgspec.structs.replace(found, data=[]))),
    )
