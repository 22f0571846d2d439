"""The steps of a search: parse the query, expand its words, execute it, correct misspelt words, build the results."""

import time
from typing import Any

import msgspec

from shared.catalog.dataset import Dataset
from shared.db import Connection
from shared.db.faults import MISSING_TABLE
from shared.reads.indexer.index import Freshness, select_index_with_freshness
from shared.search import cursors, execute, expand, ordering, results, spelling, terms
from shared.search.columns import columns
from shared.search.execute import Matches
from shared.search.expand import Variants
from shared.search.plan import SearchPlan
from shared.search.query import Correction, SearchQuery, SearchResults
from shared.search.terms import ParsedQuery

FEW_HITS = 5
"""Misspelt words are corrected if there are fewer hits than this."""


class IndexNotBuilt(Exception):
    """The first generation of the dataset's index is being built."""


async def find(db: Connection, dataset: Dataset, query: SearchQuery) -> SearchResults:
    """Searches a dataset. Raises IndexNotBuilt, and InvalidQuery for a cursor or a filter that does not fit."""
    try:
        return await _find(db, dataset, query)
    except MISSING_TABLE:  # the index was switched to another generation in this moment
        return await _find(db, dataset, query)


async def _find(db: Connection, dataset: Dataset, query: SearchQuery) -> SearchResults:
    started = time.monotonic()
    # Before the search, which sees everything up to this version, and perhaps more.
    index, freshness = await select_index_with_freshness(db, dataset.name)
    if index is None:
        if freshness.dataset:
            raise IndexNotBuilt(dataset.name)
        return results.build_empty(query, time.monotonic() - started)
    parsed = terms.parse_exact(query.words, query.operator) if query.words else terms.parse(query.q)
    plan, matches, corrections = await _match(db, SearchPlan(index, dataset, query, None, started), freshness, parsed)
    seen = matches.total
    if matches.capped and query.exact_total:
        matches = await execute.count_all(db, plan, matches)
    return results.build(plan, matches, freshness, corrections, seen=seen, truncated=parsed.truncated)


async def _match(
    db: Connection, plan: SearchPlan, freshness: Freshness, parsed: ParsedQuery
) -> tuple[SearchPlan, Matches, list[Correction]]:
    variants = await expand.select_variants(db, plan.index, parsed)
    expanded = _expand(plan, parsed, variants)
    after = _decode_cursor(expanded)
    corrections: list[Correction] = []
    matches = None if _is_rare(expanded, freshness) else await execute.select_page(db, expanded, after)
    if plan.query.typos and parsed.clauses and (matches is None or (matches.complete and matches.total < FEW_HITS)):
        corrected, corrections = await spelling.correct(db, plan.index, parsed, variants)
        if corrections:
            expanded, matches = _expand(plan, parsed, corrected), None
    return expanded, matches or await execute.select_page(db, expanded, after), corrections


def _is_rare(plan: SearchPlan, freshness: Freshness) -> bool:
    """Returns whether the vocabulary, if it is as fresh as the documents, shows that there are few hits."""
    is_fresh = freshness.counted >= freshness.indexed
    return is_fresh and plan.expansion is not None and plan.expansion.documents < FEW_HITS


def _expand(plan: SearchPlan, parsed: ParsedQuery, variants: Variants) -> SearchPlan:
    query = plan.query
    if query.words or query.q.strip():
        expansion = expand.expand(parsed, variants, plan.index, query.fields)
        return msgspec.structs.replace(plan, expansion=expansion)
    if not query.order:  # without words there is no score to order by
        query = msgspec.structs.replace(query, order=ordering.parse(plan.dataset, ""))
    return msgspec.structs.replace(plan, query=query)


def _decode_cursor(plan: SearchPlan) -> list[Any]:
    if plan.query.cursor is None:
        return []
    fields = columns(plan.dataset)
    names = [term.field for term in plan.query.order]
    sorted_by = [fields[name] for name in names] or [results.SCORE, *(fields[name] for name in plan.dataset.key)]
    return cursors.decode(plan.query.cursor, plan.identity, sorted_by)
