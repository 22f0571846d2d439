"""Executes a search: first over a bounded number of documents, then, if that is not enough, over all."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from shared.db import Connection
from shared.db.faults import STATEMENT_TIMEOUT
from shared.reads.ingestor.tables import data_table
from shared.search import facets, filters, limits, ordering
from shared.search.columns import columns, quote_column
from shared.search.expand import Expansion
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


@contextlib.asynccontextmanager
async def _transaction(db: Connection, plan: SearchPlan, *, bounded: bool) -> AsyncIterator[None]:
    """Opens a transaction that only reads, with its planner settings in the same round trip."""
    try:
        await db.execute(f"BEGIN READ ONLY; {planner_settings(plan, bounded=bounded)}")
        yield
    except BaseException:
        await db.execute("ROLLBACK")
        raise
    await db.execute("COMMIT")


def _matched(plan: SearchPlan, values: list[Any], *, bounded: bool, limit: int | None, score: str = "") -> str:
    """Returns the table `matched` of a WITH, and `examined` if its length matters; appends the values of their `$n`.

    `score` is an expression over `_words`. Documents are wide: they are scored where they are read, and not kept.
    """
    keys, table = _keys(plan), data_table(plan.dataset.name)
    last = f" LIMIT {limit}" if limit else ""
    condition = filters.to_sql(plan.query.filters, plan.dataset, "r", values)
    facet_values = "".join(f", {quote_column('r', name)} AS _facet{n}" for n, name in enumerate(plan.query.facets))
    if plan.expansion is None:
        return f"matched AS MATERIALIZED (SELECT {keys}{facet_values} FROM {table} r WHERE {condition}{last})"
    rows = f" JOIN {table} r USING ({keys})" if plan.query.filters or plan.query.facets else ""
    parts = bounded and not plan.is_frequent and bool(plan.expansion.any_of)
    documents, loose, strict = plan.index.documents, *_conditions(plan.expansion, values, parts=parts)
    scored = f", {score} AS _score" if score else ""
    if bounded and _counts_examined(plan):
        hits = f"SELECT {keys}, _at{facet_values} FROM examined{rows} WHERE _is_hit AND {condition}{last}"
        # By its address, a document is read again faster than it is kept.
        words = f" JOIN {documents} d ON d.ctid = h._at" if score else ""
        return f"""
            examined AS MATERIALIZED (
                SELECT {keys}, ctid AS _at, {strict} AS _is_hit
                FROM {documents} WHERE {loose} LIMIT {limits.MAX_EXAMINED}
            ), matched AS MATERIALIZED (SELECT h.*{scored} FROM ({hits}) h{words})
        """
    # The LIMIT or OFFSET keeps Postgres from joining before it has examined the documents.
    if bounded and plan.is_frequent:
        source, words = f"FROM {documents} LIMIT {limits.MAX_EXAMINED}", f"{loose} AND {strict}"
    else:
        source, words = f"FROM {documents} WHERE {loose} OFFSET 0", strict
    return f"""
        matched AS MATERIALIZED (
            SELECT {keys}{facet_values}{scored}
            FROM (SELECT {keys}, _words {source}) e{rows} WHERE {words} AND {condition}{last}
        )
    """


def _conditions(expansion: Expansion, values: list[Any], *, parts: bool) -> tuple[str, str]:
    """Returns the loose condition, whole or in `parts`, and the one left to check; appends the values of their `$n`."""
    if parts:
        values.append(expansion.any_of)
        # A subquery, because Postgres would estimate each part of a constant.
        loose = f"_words @@ ANY((SELECT ${len(values)}::text[])::tsquery[])"
    else:
        values.append(expansion.loose)
        loose = f"_words @@ ${len(values)}::text::tsquery"
    if expansion.strict == expansion.loose:
        return loose, "true"
    values.append(expansion.strict)
    return loose, f"_words @@ ${len(values)}::text::tsquery"


def _counts_examined(plan: SearchPlan) -> bool:
    """Returns whether only the number of examined documents shows that there may be more hits."""
    return not plan.is_frequent and (not plan.is_index_only or bool(plan.query.order))


async def _run(db: Connection, plan: SearchPlan, after: Sequence[Any], *, bounded: bool) -> Matches:
    values: list[Any] = []
    limit = None if plan.query.order else limits.MAX_RANKED
    score = "" if plan.query.order else _score(plan, values)
    tables = _matched(plan, values, bounded=bounded, limit=limit, score=score)
    page = _page_by_order(plan, after, values) if plan.query.order else _page_by_score(plan, after, values)
    examined = "NULL"
    if bounded and _counts_examined(plan):
        examined = "(SELECT count(*) FROM examined)"
        if limit:
            examined = f"CASE WHEN _total < {limit} THEN {examined} END"
    async with _transaction(db, plan, bounded=bounded):
        rows = await db.fetch(
            f"""
            WITH {tables}, page AS ({page}), counted AS (
                SELECT _total, {_facets(plan)}, {examined} AS _examined FROM (SELECT count(*) AS _total FROM matched) t
            )
            SELECT * FROM counted LEFT JOIN page ON true ORDER BY _place
            """,
            *values,
        )
    total, read = rows[0]["_total"], rows[0]["_examined"] or 0
    capped = total == limit or (bounded and (plan.is_frequent or read >= limits.MAX_EXAMINED))
    return Matches([row for row in rows if row["_place"] is not None], total, capped, rows[0]["_facets"])


async def _browse(db: Connection, plan: SearchPlan, after: Sequence[Any]) -> Matches:
    values: list[Any] = []
    condition = filters.to_sql(plan.query.filters, plan.dataset, "r", values)
    if after:
        condition += f" AND {ordering.after(plan.query.order, plan.dataset, 'r', after, values)}"
    try:
        async with _transaction(db, plan, bounded=False):
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
    tables = _matched(plan, values, bounded=False, limit=limit)
    try:
        async with _transaction(db, plan, bounded=False):
            row = await db.fetchrow(
                f"WITH {tables} SELECT (SELECT count(*) FROM matched) AS total, {_facets(plan)}", *values
            )
    except STATEMENT_TIMEOUT:
        return None
    return (row["total"], row["_facets"]) if row else None


def _score(plan: SearchPlan, values: list[Any]) -> str:
    values += [plan.expansion.ranking if plan.expansion else "", plan.index.weights_of(plan.query.fields)]
    return f"ts_rank(${len(values)}::float4[], _words, ${len(values) - 1}::text::tsquery, 1)::float8"


def _page_by_score(plan: SearchPlan, after: Sequence[Any], values: list[Any]) -> str:
    """Selects the page after a hit with this score and key."""
    condition = "true"
    if after:
        values.append(after[0])
        last = f"${len(values)}::float8"
        ties = ordering.after(ordering.parse(plan.dataset, ""), plan.dataset, "m", after[1:], values)
        condition = f"_score < {last} OR (_score = {last} AND {ties})"
    keys = _keys(plan)
    return f"""
        SELECT {_columns(plan)}, p._score, p._place FROM (
            SELECT *, row_number() OVER () AS _place FROM (
                SELECT {keys}, _score FROM matched m
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
