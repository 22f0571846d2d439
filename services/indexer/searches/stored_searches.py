"""Queries about the stored results of search jobs."""

import msgspec

from shared.contracts.commands import RunSearch
from shared.db import Connection
from shared.search.query import SearchResults

ENCODER = msgspec.json.Encoder(decimal_format="number")


async def insert_search(db: Connection, command: RunSearch, results: SearchResults) -> None:
    """Inserts the results, with one array element for each hit, so that pages of them can be read."""
    await db.execute(
        "INSERT INTO searches (job_id, dataset, question, hits, answer) VALUES ($1, $2, $3, $4::json[], $5)",
        command.job_id,
        command.dataset,
        command.query,
        [msgspec.Raw(ENCODER.encode(hit)) for hit in results.data],
        msgspec.Raw(ENCODER.encode(msgspec.structs.replace(results, data=[]))),
    )


async def delete_expired(db: Connection) -> None:
    """Deletes expired results."""
    await db.execute("DELETE FROM searches WHERE expires_at < now()")
