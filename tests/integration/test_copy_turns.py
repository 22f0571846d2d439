"""Turns of COPYs: a large one waits for its turn, a small one does not."""

import asyncio

from services.ingestor.write.copy_turns import LARGE_BYTES, TURNS
from tests.integration.ingestor_runner import Ingestor
from tests.waiting import eventually

ROWS = LARGE_BYTES // 32
PARKED = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND query LIKE 'LOCK TABLE%'"


async def test_a_large_copy_waits_for_a_turn_and_a_small_one_does_not(ingestor: Ingestor) -> None:
    text = "".join(f"{number},Department {number}\n" for number in range(1, ROWS + 1))
    (large,) = await ingestor.plan("departments", text, chunk_bytes=len(text))
    turns = TURNS._value
    for _ in range(turns):
        await TURNS.acquire()
    loading = asyncio.create_task(ingestor.load(large))
    try:
        await eventually(lambda: ingestor.pool.fetchval(PARKED), 10)
        assert (await ingestor.bring("departments", f"{ROWS + 1},Small\n")).inserted == 1
        assert await ingestor.pool.fetchval(PARKED) == 1
    finally:
        for _ in range(turns):
            TURNS.release()
    assert (await loading).outcome.inserted == ROWS
