"""Recovery of the indexer: chunks without documents and unfinished pieces, found by the ledgers."""

from services.indexer.documents import queries
from shared import ledger
from shared.bus.routes import queue
from shared.contracts.events import ChunkLoaded
from shared.contracts.message import Message
from shared.db import Connection

OVERDUE_SECONDS = 30.0
RESENT_AT_ONCE = 100


async def resend_unindexed(db: Connection) -> list[tuple[str, Message]]:
    """Returns lost events and commands."""
    events = await ledger.select_unprocessed(db, seconds=OVERDUE_SECONDS, limit=RESENT_AT_ONCE)
    pieces = await queries.claim_overdue(db, seconds=OVERDUE_SECONDS, limit=RESENT_AT_ONCE)
    messages: list[tuple[str, Message]] = [(queue("indexer", ChunkLoaded), event) for event in events]
    return [*messages, *(("", piece) for piece in pieces)]
