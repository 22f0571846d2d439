"""Recovery of analytics: uncounted chunks and declarations without rollups, found by the ledgers."""

from services.analytics import queries
from shared import ledger
from shared.bus.routes import queue
from shared.contracts.events import ChunkLoaded, DatasetDeclared
from shared.contracts.message import Message
from shared.db import Connection

OVERDUE_SECONDS = 30.0
RESENT_AT_ONCE = 100


async def resend_uncounted(db: Connection) -> list[tuple[str, Message]]:
    """Returns the events that were lost."""
    chunks = await ledger.select_unprocessed(db, seconds=OVERDUE_SECONDS, limit=RESENT_AT_ONCE)
    declarations = await queries.select_outdated(db, seconds=OVERDUE_SECONDS)
    events: list[tuple[str, Message]] = [(queue("analytics", ChunkLoaded), event) for event in chunks]
    return [*events, *((queue("analytics", DatasetDeclared), event) for event in declarations)]
