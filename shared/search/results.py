"""Builds search results from matching rows: hits with highlights, the total, facets, the next cursor, explanations."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from shared.catalog.dataset import Field
from shared.reads.indexer.index import Freshness
from shared.search import cursors, facets, limits, terms
from shared.search.columns import columns
from shared.search.execute import Matches
from shared.search.highlight import highlight
from shared.search.plan import SearchPlan
from shared.search.query import Correction, Hit, Meta, SearchQuery, SearchResults, Total

SCORE = Field(name="_score", type="number", required=True)
TRUNCATED = f"Only the first {terms.MAX_TERMS} words were searched."
TIMED_OUT = "Time ran out before all rows were searched: more rows may match, and better ones. Use less frequent words."
LAST_PAGE = "Pages by relevance end after the {} best hits, though more rows match. With an order, all can be read."
REBUILDING = "Until the index is rebuilt, searches use the fields {} and the language {}."


def build(
    plan: SearchPlan,
    matches: Matches,
    freshness: Freshness,
    corrections: list[Correction],
    *,
    seen: int,
    truncated: bool,
) -> SearchResults:
    """Returns the results. `seen` hits were read to find the page; `truncated` if the query had too many words."""
    total = _total(plan, matches, freshness)
    return SearchResults(
        data=[_hit(plan, row) for row in matches.rows[: plan.query.limit]],
        total=total,
        facets=facets.build(plan.query.facets, matches.values, approximate=matches.capped),
        next=_next_cursor(plan, matches),
        meta=Meta(
            version=freshness.indexed,
            dataset_version=freshness.dataset,
            words=_words(plan),
            corrections=corrections,
            ranked=0 if plan.query.order else min(seen, limits.MAX_RANKED),
            complete=matches.complete,
            detail=" ".join(_details(plan, matches, total, seen=seen, truncated=truncated)),
            seconds=round(time.monotonic() - plan.started, 4),
        ),
    )


def build_empty(query: SearchQuery, seconds: float) -> SearchResults:
    """Returns the results for a dataset that has neither rows nor an index yet."""
    meta = Meta(
        version=0, dataset_version=0, words=[], corrections=[], ranked=0, complete=True, seconds=round(seconds, 4)
    )
    return SearchResults([], Total(0, "eq"), facets.build(query.facets, None, approximate=False), None, meta)


def _total(plan: SearchPlan, matches: Matches, freshness: Freshness) -> Total:
    if not matches.capped:
        return Total(matches.total, "eq")
    if (known := plan.known_total) is not None and freshness.counted >= freshness.indexed:
        return Total(known, "eq")
    return Total(matches.total, "gte")


def _words(plan: SearchPlan) -> list[str]:
    if plan.expansion is None:
        return []
    return [*plan.expansion.words, *(f"{prefix}*" for prefix in plan.expansion.prefixes)]


def _hit(plan: SearchPlan, row: Any) -> Hit:
    fields = {name: row[name] for name in columns(plan.dataset)}
    if plan.expansion is None:
        return Hit(fields, 0.0)
    words, prefixes = frozenset(plan.expansion.words), plan.expansion.prefixes
    highlights = {name: highlight(row[name], words, prefixes) for name in plan.query.highlight}
    return Hit(fields, row["_score"], highlights)


def _next_cursor(plan: SearchPlan, matches: Matches) -> str | None:
    query = plan.query
    if len(matches.rows) <= query.limit:
        return None
    last = matches.rows[query.limit - 1]
    values: Sequence[Any] = (
        [last[f"_last{number}"] for number in range(len(query.order))]
        if query.order
        else [last["_score"], *(last[name] for name in plan.dataset.key)]
    )
    return cursors.encode(plan.identity, values)


def _details(plan: SearchPlan, matches: Matches, total: Total, *, seen: int, truncated: bool) -> Iterator[str]:
    built, declared = plan.index.search, plan.dataset.search
    if not matches.complete:
        yield TIMED_OUT
    if truncated:
        yield TRUNCATED
    if _is_last_ranked_page(plan, matches, total, seen):
        yield LAST_PAGE.format(seen)
    if declared and not built.has_same_documents(declared):
        yield REBUILDING.format(", ".join(built.fields), built.language)


def _is_last_ranked_page(plan: SearchPlan, matches: Matches, total: Total, seen: int) -> bool:
    """Returns whether this is the last page by relevance, though more rows match."""
    is_last = len(matches.rows) <= plan.query.limit and matches.complete
    has_more = total.relation == "gte" or total.value > seen
    return is_last and has_more and not plan.query.order
