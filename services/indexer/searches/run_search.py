"""Handler of RunSearch: runs a search job and stores its results."""

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

ACQUIRE_SECONDS = 30.0
"""For the second connection. If handlers that wait for one hold all of them, the search fails and is retried."""
CHANGED = "The declaration of the dataset changed after the search was accepted: submit it again."


async def run_search(command: RunSearch, db: Connection, pool: Pool) -> SearchCompleted:
    """Raises NotReady until the index has `min_version`, and PermanentFailure if the query no longer fits."""
    if (await select_freshness(db, command.dataset)).indexed < command.min_version:
        raise NotReady
    try:
        results = await _search(command, db, pool)
    except IndexNotBuilt as error:
        raise NotReady from error
    except InvalidQuery as error:
        raise PermanentFailure(Problem(code=error.code, detail=error.detail, hint=CHANGED)) from error
    await stored_searches.insert_search(db, command, results)
    return SearchCompleted(
        dataset=command.dataset,
        job_id=command.job_id,
        hits=len(results.data),
        total=results.total.value,
        version=results.meta.version,
    )


async def _search(command: RunSearch, db: Connection, pool: Pool) -> SearchResults:
    dataset = await ledger.select_dataset(db, command.dataset)
    query = msgspec.convert(command.query, SearchQuery)
    if dataset.search is None:
        raise InvalidQuery("dataset", "not_searchable", f"{dataset.name} no longer declares a search.")
    check_query(dataset, dataset.search, query)
    # On a connection of its own: the planner settings of a search must not last until the commit of this transaction.
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
        return await find(connection, dataset, query)
