"""Executes a search: first over a bounded number of documents, then, if that is not enough, over all."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from shared.db import Connection
from shared.db.faults import STATEMENT_TIMEOUT
from shared.reads.ingestor.tables import data_table
from shared.search import facets, filters, limits, ordering
from shared.search.columns import columns, quote_column
from shared.search.plan import SearchPlan

SETTINGS = (
    "SET LOCAL jit = off; SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL synchronize_seqscans = off;"
    "SET LOCAL work_mem = '32MB';"
)
BOUNDED_SETTINGS = (
    "SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;"
)


class Matches(NamedTuple):
    """A page of rows, one row longer if more follow, and the number of all hits, a lower bound if `capped`.

    If not `complete`, time ran out before all rows were seen.
    """

    rows: list[Any]
    total: int
    capped: bool
    values: facets.FacetCounts
    complete: bool = True


TIMED_OUT = Matches([], 0, capped=True, values=None, complete=False)


async def select_page(db: Connection, plan: SearchPlan, after: Sequence[Any]) -> Matches:
    """Selects the page after the hit with the values `after`; the first page without them."""
    if plan.expansion is None:
        return await _browse(db, plan, after)
    try:
        matches = await _run(db, plan, after, bounded=True)
    except STATEMENT_TIMEOUT:
        return TIMED_OUT
    if not matches.capped or (not plan.query.order and matches.total >= max(limits.ENOUGH_HITS, 2 * plan.query.limit)):
        return matches
    try:
        return await _run(db, plan, after, bounded=False)
    except STATEMENT_TIMEOUT:
        return matches._replace(complete=False)


async def count_all(db: Connection, plan: SearchPlan, matches: Matches) -> Matches:
    """Adds the exact number of hits and of their values. Returns the matches unchanged if time runs out."""
    counted = await _count(db, plan, None)
    return matches._replace(total=counted[0], values=counted[1], capped=False) if counted else matches


def planner_settings(plan: SearchPlan, *, bounded: bool) -> str:
    """Returns settings that fix the plan. Postgres would guess; the vocabulary knows word frequencies."""
    settings = f"{SETTINGS} SET LOCAL statement_timeout = {plan.milliseconds};"
    if not bounded:
        return settings
    return settings + BOUNDED_SETTINGS + f"SET LOCAL enable_{'bitmapscan' if plan.is_frequent else 'seqscan'} = off;"


def _matched_tables(plan: SearchPlan, values: list[Any], *, bounded: bool, limit: int | None) -> str:
    """Returns the tables `examined` and `matched` of a WITH, and appends the values of their `$n` to `values`."""
    keys, table = _keys(plan), data_table(plan.dataset.name)
    last = f" LIMIT {limit}" if limit else ""
    condition = filters.to_sql(plan.query.filters, plan.dataset, "r", values)
    no_documents = "examined AS (SELECT WHERE false)"
    facet_values = "".join(f", {quote_column('r', name)} AS _facet{n}" for n, name in enumerate(plan.query.facets))
    if plan.expansion is None:
        rows = f"SELECT {keys}{facet_values} FROM {table} r WHERE {condition}{last}"
        return f"{no_documents}, matched AS MATERIALIZED ({rows})"
    documents = f"SELECT {keys}, _words FROM {plan.index.documents}"
    if plan.is_index_only and limit and not facet_values and not (bounded and plan.is_frequent):
        values.append(plan.expansion.strict)
        hits = f"_words @@ ${len(values)}::text::tsquery"
        return f"{no_documents}, matched AS MATERIALIZED ({documents} WHERE {hits}{last})"
    values += [plan.expansion.loose, plan.expansion.strict]
    loose, strict = (f"_words @@ ${len(values) - back}::text::tsquery" for back in (1, 0))
    if bounded and plan.is_frequent:
        examined = f"{documents} LIMIT {limits.MAX_EXAMINED}"
        strict = f"{loose} AND {strict}"
    else:
        examined = f"{documents} WHERE {loose}" + (f" LIMIT {limits.MAX_EXAMINED}" if bounded else "")
    rows = f" JOIN {table} r USING ({keys})" if plan.query.filters or facet_values else ""
    return f"""
        examined AS ({examined}), matched AS MATERIALIZED (
            SELECT {keys}, e._words{facet_values} FROM examined e{rows} WHERE {strict} AND {condition}{last}
        )
    """


async def _run(db: Connection, plan: SearchPlan, after: Sequence[Any], *, bounded: bool) -> Matches:
    values: list[Any] = []
    limit = None if plan.query.order else limits.MAX_RANKED
    tables = _matched_tables(plan, values, bounded=bounded, limit=limit)
    page = _page_by_order(plan, after, values) if plan.query.order else _page_by_score(plan, after, values)
    counts_all = f"(SELECT count(*) FROM matched) < {limit or limits.MAX_EXAMINED}"
    read = f"CASE WHEN {counts_all} THEN (SELECT count(*) FROM examined) ELSE {limits.MAX_EXAMINED} END"
    async with db.transaction(readonly=True):
        await db.execute(planner_settings(plan, bounded=bounded))
        rows = await db.fetch(
            f"""
            WITH {tables}, page AS ({page}), counted AS (
                SELECT (SELECT count(*) FROM matched) AS _total, {_facets(plan)}, {read} AS _examined
            )
            SELECT * FROM counted LEFT JOIN page ON true ORDER BY _place
            """,
            *values,
        )
    total, examined = rows[0]["_total"], rows[0]["_examined"]
    capped = (total == limit) or (bounded and (plan.is_frequent or examined >= limits.MAX_EXAMINED))
    return Matches([row for row in rows if row["_place"] is not None], total, capped, rows[0]["_facets"])


async def _browse(db: Connection, plan: SearchPlan, after: Sequence[Any]) -> Matches:
    values: list[Any] = []
    condition = filters.to_sql(plan.query.filters, plan.dataset, "r", values)
    if after:
        condition += f" AND {ordering.after(plan.query.order, plan.dataset, 'r', after, values)}"
    try:
        async with db.transaction(readonly=True):
            await db.execute(planner_settings(plan, bounded=False))
            rows = await db.fetch(
                _sorted_page(plan, f"FROM {data_table(plan.dataset.name)} r WHERE {condition}"), *values
            )
    except STATEMENT_TIMEOUT:
        return TIMED_OUT
    counted = await _count(db, plan, limits.MAX_EXAMINED)
    if counted is None:
        return Matches(rows, len(rows), capped=True, values=None)
    total, counts = counted
    return Matches(rows, total, total >= limits.MAX_EXAMINED, counts)


async def _count(db: Connection, plan: SearchPlan, limit: int | None) -> tuple[int, facets.FacetCounts] | None:
    """Counts hits up to the limit, and their values. Returns None if time runs out."""
    values: list[Any] = []
    tables = _matched_tables(plan, values, bounded=False, limit=limit)
    try:
        async with db.transaction(readonly=True):
            await db.execute(planner_settings(plan, bounded=False))
            row = await db.fetchrow(
                f"WITH {tables} SELECT (SELECT count(*) FROM matched) AS total, {_facets(plan)}", *values
            )
    except STATEMENT_TIMEOUT:
        return None
    return (row["total"], row["_facets"]) if row else None


def _page_by_score(plan: SearchPlan, after: Sequence[Any], values: list[Any]) -> str:
    """Selects the page after a hit with this score and key."""
    values += [plan.expansion.ranking if plan.expansion else "", plan.index.weights_of(plan.query.fields)]
    score = f"ts_rank(${len(values)}::float4[], _words, ${len(values) - 1}::text::tsquery, 1)::float8"
    condition = "true"
    if after:
        values.append(after[0])
        last = f"${len(values)}::float8"
        ties = ordering.after(ordering.parse(plan.dataset, ""), plan.dataset, "s", after[1:], values)
        condition = f"_score < {last} OR (_score = {last} AND {ties})"
    keys = _keys(plan)
    return f"""
        SELECT {_columns(plan)}, p._score, p._place FROM (
            SELECT *, row_number() OVER () AS _place FROM (
                SELECT {keys}, _score FROM (SELECT {keys}, {score} AS _score FROM matched) s
                WHERE {condition} ORDER BY _score DESC, {keys} LIMIT {plan.query.limit + 1}
            ) best
        ) p JOIN {data_table(plan.dataset.name)} r USING ({keys})
    """


def _page_by_order(plan: SearchPlan, after: Sequence[Any], values: list[Any]) -> str:
    condition = ordering.after(plan.query.order, plan.dataset, "r", after, values) if after else "true"
    joined = f"FROM matched m JOIN {data_table(plan.dataset.name)} r USING ({_keys(plan)})"
    return _sorted_page(plan, f"{joined} WHERE {condition}")


def _facets(plan: SearchPlan) -> str:
    return f"({facets.to_sql(len(plan.query.facets))}) AS _facets"


def _sorted_page(plan: SearchPlan, rows: str) -> str:
    dataset, terms = plan.dataset, plan.query.order
    last = ", ".join(f"{e} AS _last{n}" for n, e in enumerate(ordering.expressions(terms, dataset, "r")))
    return f"""
        SELECT *, row_number() OVER () AS _place FROM (
            SELECT {_columns(plan)}, 0::float8 AS _score, {last} {rows}
            ORDER BY {ordering.to_sql(terms, dataset, "r")} LIMIT {plan.query.limit + 1}
        ) first
    """


def _columns(plan: SearchPlan) -> str:
    return ", ".join(quote_column("r", name) for name in columns(plan.dataset))


def _keys(plan: SearchPlan) -> str:
    return ", ".join(f'"{name}"' for name in plan.dataset.key)
