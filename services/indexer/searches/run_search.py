"""Runs a search job once and stores its result."""

import msgspec

from services.indexer.searches import stored_searches
from shared.bus.failures import NotReady, PermanentFailure
from shared.contracts.commands import RunSearch
from shared.contracts.events import SearchCompleted
from shared.contracts.parts import Problem
from shared.db import Connection, Pool
from shared.reads.indexer.index import select_freshness
from shared.reads.ingestor.datasets import select_dataset
from shared.search.columns import InvalidQuery
from shared.search.query import SearchQuery, SearchResults
from shared.search.search import IndexNotBuilt, find
from shared.search.validate import check_query

ACQUIRE_SECONDS = 30.0
"""Timeout for the second connection. If waiting searches hold all connections, this one fails and is retried."""
CHANGED = "The declaration of the dataset changed after the search was accepted: submit the search again."


async def run_search(command: RunSearch, db: Connection, pool: Pool) -> SearchCompleted:
    """Raises NotReady until the index has `min_version`, PermanentFailure if the search became invalid."""
    if (await select_freshness(db, command.dataset)).indexed < command.min_version:
        raise NotReady
    try:
        found = await _search(command, db, pool)
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


async def _search(command: RunSearch, db: Connection, pool: Pool) -> SearchResults:
    dataset = await select_dataset(db, command.dataset)
    query = msgspec.convert(command.query, SearchQuery)
    if dataset.search is None:
        raise InvalidQuery("dataset", "not_searchable", f"Dataset {dataset.name} does not declare a search any more.")
    check_query(dataset, dataset.search, query)
    # On a second connection: planner settings of a search must not last until our commit.
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as search_db:
        return await find(search_db, dataset, query)
