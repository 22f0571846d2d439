"""Searches as jobs: answered once although messages are repeated."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from services.gateway.jobs.job import JobRequest
from services.gateway.jobs.submit import submit_jobs
from services.gateway.search import results, search_jobs
from services.indexer.retention import RETENTIONS
from services.indexer.searches.run_search import run_search
from services.indexer.settings import IndexerSettings
from shared.bus import inbox
from shared.bus.failures import NotReady, PermanentFailure
from shared.contracts.commands import RunSearch
from shared.contracts.events import JobStarted, JobSucceeded, SearchCompleted
from shared.db import Connection, Pool
from shared.retention import RetentionTask
from shared.search.conditions import Comparison
from shared.search.ordering import SortTerm
from shared.search.query import SearchQuery
from tests.integration.ingestor_runner import Ingestor
from tests.integration.reader_runners import Indexer

CHAIRS = "1,Chair,oak,1.10,,,,\n2,Chairs,ash,2,,,,\n3,Table,oak,3,,,,\n"
SETTINGS = IndexerSettings(database_url="", broker_url="")


def new_command(question: SearchQuery | None = None, **about: Any) -> RunSearch:
    """As the gateway says it, and as it comes out of a message."""
    found = msgspec.to_builtins(question or SearchQuery(q="chair", limit=1000))
    command = RunSearch(**{"dataset": "items", "job_id": uuid4(), "query": found, **about})
    return RunSearch.decode(command.encode())


@contextlib.asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    async with pool.acquire() as db, db.transaction():
        yield db


async def hear(indexer: Indexer, command: RunSearch) -> SearchCompleted | None:
    """As `Delivery` has it: once, however often it comes."""
    async with transaction(indexer.pool) as db:
        return (
            await run_search(command, db, indexer.pool) if await inbox.claim(db, command.id, command.name()) else None
        )


async def accepted(gateway: Pool, command: RunSearch) -> None:
    one = JobRequest(kind="search", command=command, mode=None, api_key=None, idempotency_key=None, fingerprint="")
    async with transaction(gateway) as db:
        await submit_jobs(db, [one])
        await db.execute("DELETE FROM outbox")


async def test_a_search_that_is_delivered_twice_is_answered_once(ingestor: Ingestor, indexer: Indexer) -> None:
    await indexer.bring(ingestor, CHAIRS)
    command = new_command()
    said = await asyncio.gather(*(hear(indexer, command) for _ in range(3)))
    (completed,) = [event for event in said if event is not None]
    version = await indexer.pool.fetchval("SELECT version FROM ingestor.datasets WHERE name = 'items'")
    assert (completed.hits, completed.total, completed.version) == (2, 2, version)
    assert await indexer.pool.fetchval("SELECT count(*) FROM searches") == 1


async def test_a_question_survives_its_journey(ingestor: Ingestor, indexer: Indexer, gateway: Pool) -> None:
    await indexer.bring(ingestor, CHAIRS)
    question = SearchQuery(
        q="chair \x00",
        filters=(Comparison("price", "gte", "1"),),
        order=(SortTerm("price", descending=True), SortTerm("id", descending=True)),
        facets=("category",),
        highlight=("name",),
        limit=1000,
    )
    command = new_command(question)
    assert msgspec.convert(command.query, SearchQuery) == question
    await accepted(gateway, command)
    await hear(indexer, command)
    async with gateway.acquire() as db:
        result = await results.select_result(db, command.job_id, 1, 10)
    assert result is not None
    assert [hit.row["id"] for hit in result.data] == [2, 1]
    assert str(result.data[1].row["price"]) == "1.10"


async def test_the_settings_of_a_search_end_before_its_answer_is_kept(ingestor: Ingestor, indexer: Indexer) -> None:
    await indexer.bring(ingestor, CHAIRS)
    async with transaction(indexer.pool) as db:
        before = await db.fetchval("SELECT current_setting('statement_timeout')")
        await run_search(new_command(), db, indexer.pool)
        assert await db.fetchval("SELECT current_setting('statement_timeout')") == before


@pytest.mark.parametrize(
    ("question", "code"),
    [
        (SearchQuery(q="chair", fields=("colour",)), "unknown_field"),
        (SearchQuery(q="chair", highlight=("price",)), "unknown_field"),
        (SearchQuery(q="chair", facets=("colour",)), "unknown_field"),
        (SearchQuery(q="chair", order=(SortTerm("colour"),)), "unknown_field"),
        (SearchQuery(q="chair", filters=(Comparison("colour", "eq", "red"),)), "unknown_field"),
        (SearchQuery(q="chair", filters=(Comparison("price", "eq", "red"),)), "type"),
    ],
)
async def test_what_the_dataset_no_longer_has_ends_the_search(
    ingestor: Ingestor, indexer: Indexer, question: SearchQuery, code: str
) -> None:
    await indexer.bring(ingestor, CHAIRS)
    with pytest.raises(PermanentFailure) as raised:
        await hear(indexer, new_command(question))
    assert raised.value.problem.code == code
    assert "submit the search again" in raised.value.problem.hint


async def test_a_dataset_that_is_not_searched_any_more_ends_the_search(indexer: Indexer) -> None:
    await indexer.admin.execute(
        "UPDATE ingestor.datasets SET declaration = (declaration::jsonb - 'search')::json WHERE name = 'items'"
    )
    with pytest.raises(PermanentFailure) as raised:
        await hear(indexer, new_command())
    assert raised.value.problem.code == "not_searchable"


async def test_a_search_waits_for_its_version_and_for_documents(ingestor: Ingestor, indexer: Indexer) -> None:
    (event,) = await ingestor.load_all(await ingestor.plan("items", CHAIRS))
    command = new_command(min_version=event.version)
    with pytest.raises(NotReady):
        await hear(indexer, command)
    await indexer.index(event)
    await indexer.admin.execute("UPDATE indexer.indexes SET state = 'building' WHERE dataset = 'items'")
    with pytest.raises(NotReady):
        await hear(indexer, command)
    await indexer.admin.execute("UPDATE indexer.indexes SET state = 'serving' WHERE dataset = 'items'")
    completed = await hear(indexer, command)
    assert completed is not None
    assert completed.version >= event.version


async def test_a_completed_search_that_is_heard_of_twice_ends_its_job_once(
    ingestor: Ingestor, indexer: Indexer, gateway: Pool
) -> None:
    await indexer.bring(ingestor, CHAIRS)
    command = new_command()
    await accepted(gateway, command)
    completed = await hear(indexer, command)
    assert completed is not None
    async with transaction(gateway) as db:
        messages = await search_jobs.follow_searched(completed, db)
        assert [type(one) for one in messages] == [JobStarted, JobSucceeded]
        assert await search_jobs.follow_searched(completed, db) == []


async def test_expired_answers_are_deleted_and_no_others(ingestor: Ingestor, indexer: Indexer) -> None:
    await indexer.bring(ingestor, CHAIRS)
    old, new = new_command(), new_command()
    for command in (old, new):
        await hear(indexer, command)
    await indexer.admin.execute(
        "UPDATE indexer.searches SET expires_at = now() - interval '1 second' WHERE job_id = $1", old.job_id
    )
    await RetentionTask("indexer", RETENTIONS, SETTINGS).run(indexer.pool)
    assert await indexer.pool.fetchval("SELECT job_id FROM searches") == new.job_id
