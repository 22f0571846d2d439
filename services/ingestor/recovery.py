"""Recovery of the ingestor: finds overdue chunks in its ledger, and overdue pages of syncs."""

from services.ingestor import chunk_ledger
from services.ingestor.imports import replace
from services.ingestor.sources import queries
from shared.contracts.message import Message
from shared.db import Connection

OVERDUE_SECONDS = 30.0
RESENT_AT_ONCE = 100


async def resend_overdue(db: Connection) -> list[tuple[str, Message]]:
    """Returns the commands of chunks and pages whose message was lost; drops abandoned stages."""
    await replace.drop_abandoned_stages(db)
    loads = await chunk_ledger.claim_overdue(db, seconds=OVERDUE_SECONDS, limit=RESENT_AT_ONCE)
    pulls = await queries.claim_overdue_pulls(db, limit=RESENT_AT_ONCE)
    return [("", message) for message in (*loads, *pulls)]
