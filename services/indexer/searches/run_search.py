"""What the indexer decides about a search that was asked for as a job: it is answered once, and the answer kept."""

import msgspec

from services.indexer.searches import stored_searches
from shared import ledger
from shared.bus.failures import NotReady, PermanentFailure
from shared.contracts.commands import RunSearch
from shared.contracts.events import SearchCompleted
from shared.contracts.parts import Problem
from shared.db import Connection, Pool
from shared.search.columns import InvalidQuery
from shared.search.index import select_freshness
from shared.search.query import SearchQuery, SearchResults
from shared.search.search import IndexNotBuilt, find
from shared.search.validate import check_query

PATIENCE_SECONDS = 30.0
"""For a second connection: if all are held by those who wait for one, the search is put off and tried again."""
CHANGED = "The dataset was declared otherwise after the search was accepted: ask again."


async def run_search(command: RunSearch, db: Connection, pool: Pool) -> SearchCompleted:
    """Raises NotReady until its documents are made, and PermanentFailure for what can't be answered any more."""
    if (await select_freshness(db, command.dataset)).indexed < command.min_version:
        raise NotReady
    try:
        found = await _answer(command, db, pool)
    except IndexNotBuilt as error:
        raise NotReady from error
    except InvalidQuery as error:
        raise PermanentFailure(Problem(code=error.code, detail=error.detail, hint=CHANGED)) from error
    await stored_searches.insert_search(db, command, found)
    return SearchCompleted(
        dataset=command.dataset,
        job_id=command.job_id,
        hits=len(found.data),
        total=found.total.value,
        version=found.meta.version,
    )


async def _answer(command: RunSearch, db: Connection, pool: Pool) -> SearchResults:
    dataset = await ledger.select_dataset(db, command.dataset)
    question = msgspec.convert(command.query, SearchQuery)
    if dataset.search is None:
        raise InvalidQuery("dataset", "not_searchable", f"{dataset.name} declares no search any more.")
    check_query(dataset, dataset.search, question)
    # On a connection of its own: how Postgres is told to go about a search must not last until our commit.
    async with pool.acquire(timeout=PATIENCE_SECONDS) as reading:
        return await find(reading, dataset, question)
