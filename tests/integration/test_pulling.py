"""Syncs from the sandbox into a real table: complete or said to be incomplete, whatever the outside world does."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.loading import Ingestor
from tests.integration.pulling import Sync
from tests.outside import Outside, sandboxed


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    async with sandboxed() as started:
        yield started


async def test_all_customers_come_in_pages_and_the_second_time_nothing_changes(
    ingestor: Ingestor, outside: Outside
) -> None:
    sync = await Sync(ingestor, outside.outgoing(), "customers", "shop").finish()
    assert sync.outcome.inserted == sync.outcome.rows_read == 21
    assert outside.asked() == [f"GET /api/customers?limit=10&page={page}" for page in (1, 2, 3)]
    again = await Sync(ingestor, outside.outgoing(), "customers", "shop").finish()
    assert (again.outcome.unchanged, again.outcome.rows_read, again.warning) == (21, 21, "")
    rows = await ingestor.rows("customers")
    assert [row["customer_id"] for row in rows] == [f"CUST{number:03}" for number in range(1, 22)]


async def test_paragraphs(ingestor: Ingestor, outside: Outside) -> None:
    for _ in range(2):
        sync = await Sync(ingestor, outside.outgoing(), "paragraphs", "story").finish()
        assert sync.outcome.inserted == 1
    rows = await ingestor.rows("paragraphs")
    assert len({row["content"] for row in rows}) == 2
