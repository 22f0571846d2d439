"""Groups of messages: handled in one transaction. A group that fails is handled in halves, down to single messages.

So a message that can't be handled costs its neighbours a few more transactions, and nothing else.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

import structlog

from shared.bus import attempts
from shared.bus.handling import UNAVAILABLE_SECONDS, Handling
from shared.bus.received import Received
from shared.db.faults import CONFLICTS, UNAVAILABLE

MAX_CONFLICTS = 2
CONFLICT_SECONDS = 0.02
log = structlog.get_logger()


async def handle(handling: Handling, group: Sequence[Received]) -> None:
    """Handles each message of the group to its end: done, given up, or to be tried again later.

    A message whose delivery has killed the process is handled after the others, alone.
    """
    if len(group) == 1:
        await handling.handle_counted(group[0])
        return
    redelivered = [received.message.id for received in group if received.redeliveries]
    crashed = await handling.persist(lambda db: attempts.select_crashed(db, redelivered)) if redelivered else set()
    innocent = [received for received in group if received.message.id not in crashed]
    async with _recorded(handling, [received for received in innocent if received.redeliveries]):
        await _handle_in_halves(handling, innocent)
    for received in group:
        if received.message.id in crashed:
            await handling.handle_counted(received)


@contextlib.asynccontextmanager
async def _recorded(handling: Handling, redelivered: Sequence[Received]) -> AsyncIterator[None]:
    """Records that attempts have begun. If one of these messages kills the process, each is handled alone next time."""
    if not redelivered:
        yield
        return
    messages = [received.message for received in redelivered]
    await handling.persist(lambda db: attempts.insert_begun(db, messages, handling.name))
    try:
        yield
    finally:
        await handling.persist(lambda db: attempts.delete_all_begun(db, [message.id for message in messages]))


async def _handle_in_halves(handling: Handling, group: Sequence[Received]) -> None:
    if len(group) == 1:
        await handling.handle(group[0])
    elif group and not await _commit(handling, group):
        half = len(group) // 2
        await _handle_in_halves(handling, group[:half])
        await _handle_in_halves(handling, group[half:])


async def _commit(handling: Handling, group: Sequence[Received]) -> bool:
    """Handles the group in one transaction; returns whether that succeeded. Waits while Postgres is unavailable."""
    conflicts = 0
    while True:
        began = time.monotonic()
        try:
            results = await handling.commit([received.message for received in group])
        except UNAVAILABLE as error:
            log.warning("database unavailable", error=repr(error))
            await asyncio.sleep(UNAVAILABLE_SECONDS)
        except Exception as error:  # noqa: BLE001 - whatever it is, it comes again for the message that causes it
            if isinstance(error, CONFLICTS) and conflicts < MAX_CONFLICTS:
                conflicts += 1
                await asyncio.sleep(CONFLICT_SECONDS * conflicts)
                continue
            log.info("group halved", message=handling.name, messages=len(group), error=repr(error))
            return False
        else:
            handling.record(group, results, began)
            return True
