"""Queries about answers that are kept for searches that were asked for as jobs."""

import msgspec

from shared.contracts.commands import RunSearch
from shared.db import Connection
from shared.search.query import SearchResults

EXACT = msgspec.json.Encoder(decimal_format="number")


async def insert_search(db: Connection, command: RunSearch, found: SearchResults) -> None:
    """Kept for as long as the table says, hit by hit, so that a page of it can be read."""
    await db.execute(
        "INSERT INTO searches (job_id, dataset, question, hits, answer) VALUES ($1, $2, $3, $4::json[], $5)",
        command.job_id,
        command.dataset,
        command.query,
        [msgspec.Raw(EXACT.encode(hit)) for hit in found.data],
        msgspec.Raw(EXACT.encode(msgspec.structs.replace(found, data=[]))),
    )


async def delete_expired(db: Connection) -> None:
    """What nobody can ask for any more."""
    await db.execute("DELETE FROM searches WHERE expires_at < now()")
