"""Queries for the rows that match: among few documents first, at a cost that is bounded, and then, if need be, all."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from shared.catalog.dataset import Dataset
from shared.db import Connection
from shared.db.faults import STATEMENT_TIMEOUT
from shared.search import facets, filters, ordering
from shared.search.columns import columns, quoted
from shared.search.expand import Meaning
from shared.search.index import Index
from shared.search.query import Question

CANDIDATES = 2000
"""Hits that are ranked."""
EXAMINED = 10_000
"""Documents that are looked at first: those with the words, or where these are everywhere, any."""
ENOUGH = 50
"""Hits among those that were looked at: the best of them will do, if they fill two pages."""
COMMON = 2_500
"""Words are everywhere if the square of their documents is over so many times all documents."""
BUDGET_SECONDS = 1.0
"""For all that a question takes; what is asked when it is used up gets a fifth of it."""
STEADY = (
    "SET LOCAL jit = off; SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL synchronize_seqscans = off;"
    "SET LOCAL work_mem = '32MB';"
)
BOUNDED = (
    "SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;"
)


class Search(msgspec.Struct, frozen=True):
    """What is searched, and for what; without a meaning, every row has the words."""

    index: Index
    dataset: Dataset
    question: Question
    meaning: Meaning | None
    began: float
    """When the question was asked, by `time.monotonic`."""

    @property
    def milliseconds(self) -> int:
        """For the next statement."""
        left = self.began + BUDGET_SECONDS - time.monotonic()
        return max(1, int(1000 * max(left, BUDGET_SECONDS / 5)))

    @property
    def is_common(self) -> bool:
        """Whether reading documents as they come meets enough of them sooner than the index does."""
        rows = self.index.rows
        return self.meaning is not None and rows > 2 * EXAMINED and self.meaning.documents**2 > COMMON * rows

    @property
    def is_plain(self) -> bool:
        """Whether whatever the index finds is a hit."""
        return self.meaning is not None and self.meaning.strict == self.meaning.loose and not self.question.filters


class Matches(NamedTuple):
    """A page of rows, with one more if there are more, and how many match: exactly, unless `capped`.

    If not `complete`, there was no time to look for more.
    """

    rows: list[Any]
    total: int
    capped: bool
    values: facets.Counted
    complete: bool = True


NOTHING_SEEN = Matches([], 0, capped=True, values=None, complete=False)


async def select(db: Connection, search: Search, after: Sequence[Any]) -> Matches:
    """A page behind the hit with the values `after`, if there are any."""
    if search.meaning is None:
        return await _browse(db, search, after)
    try:
        matches = await _run(db, search, after, bounded=True)
    except STATEMENT_TIMEOUT:
        return NOTHING_SEEN
    if not matches.capped or (not search.question.order and matches.total >= max(ENOUGH, 2 * search.question.limit)):
        return matches
    try:
        return await _run(db, search, after, bounded=False)
    except STATEMENT_TIMEOUT:
        return matches._replace(complete=False)


async def count(db: Connection, search: Search, matches: Matches) -> Matches:
    """With the exact number of all that match, and of their values; as they are if that would take too long."""
    counted = await _count(db, search, None)
    return matches._replace(total=counted[0], values=counted[1], capped=False) if counted else matches


def settings(search: Search, *, bounded: bool) -> str:
    """How Postgres is to go about it. It would guess; we know how frequent each word is."""
    steady = f"{STEADY} SET LOCAL statement_timeout = {search.milliseconds};"
    if not bounded:
        return steady
    return steady + BOUNDED + f"SET LOCAL enable_{'bitmapscan' if search.is_common else 'seqscan'} = off;"


def _matched(search: Search, values: list[Any], *, bounded: bool, limit: int | None) -> str:
    """The tables `examined` and `matched` of a WITH; what the `$n` stand for is added to `values`."""
    keys, table = _keys(search), _table(search)
    last = f" LIMIT {limit}" if limit else ""
    condition = filters.sql(search.question.filters, search.dataset, "r", values)
    nothing = "examined AS (SELECT WHERE false)"
    valued = "".join(f", {quoted('r', name)} AS _facet{n}" for n, name in enumerate(search.question.facets))
    if search.meaning is None:
        return f"{nothing}, matched AS MATERIALIZED (SELECT {keys}{valued} FROM {table} r WHERE {condition}{last})"
    documents = f"SELECT {keys}, _words FROM {search.index.documents}"
    if search.is_plain and limit and not valued and not (bounded and search.is_common):
        values.append(search.meaning.strict)
        hits = f"_words @@ ${len(values)}::text::tsquery"
        return f"{nothing}, matched AS MATERIALIZED ({documents} WHERE {hits}{last})"
    values += [search.meaning.loose, search.meaning.strict]
    loose, strict = (f"_words @@ ${len(values) - back}::text::tsquery" for back in (1, 0))
    if bounded and search.is_common:
        examined = f"{documents} LIMIT {EXAMINED}"
        strict = f"{loose} AND {strict}"
    else:
        examined = f"{documents} WHERE {loose}" + (f" LIMIT {EXAMINED}" if bounded else "")
    rows = f" JOIN {table} r USING ({keys})" if search.question.filters or valued else ""
    return f"""
        examined AS ({examined}), matched AS MATERIALIZED (
            SELECT {keys}, e._words{valued} FROM examined e{rows} WHERE {strict} AND {condition}{last}
        )
    """


async def _run(db: Connection, search: Search, after: Sequence[Any], *, bounded: bool) -> Matches:
    values: list[Any] = []
    limit = None if search.question.order else CANDIDATES
    tables = _matched(search, values, bounded=bounded, limit=limit)
    page = _by_order(search, after, values) if search.question.order else _by_score(search, after, values)
    counted = f"(SELECT count(*) FROM matched) < {limit or EXAMINED}"
    async with db.transaction(readonly=True):
        await db.execute(settings(search, bounded=bounded))
        rows = await db.fetch(
            f"""
            WITH {tables}, page AS ({page}), counted AS (
                SELECT (SELECT count(*) FROM matched) AS _total, {_facets(search)},
                       CASE WHEN {counted} THEN (SELECT count(*) FROM examined) ELSE {EXAMINED} END AS _examined
            )
            SELECT * FROM counted LEFT JOIN page ON true ORDER BY _place
            """,
            *values,
        )
    total, examined = rows[0]["_total"], rows[0]["_examined"]
    capped = (total == limit) or (bounded and (search.is_common or examined >= EXAMINED))
    return Matches([row for row in rows if row["_place"] is not None], total, capped, rows[0]["_facets"])


async def _browse(db: Connection, search: Search, after: Sequence[Any]) -> Matches:
    values: list[Any] = []
    condition = filters.sql(search.question.filters, search.dataset, "r", values)
    if after:
        condition += f" AND {ordering.after(search.question.order, search.dataset, 'r', after, values)}"
    try:
        async with db.transaction(readonly=True):
            await db.execute(settings(search, bounded=False))
            rows = await db.fetch(_ordered(search, f"FROM {_table(search)} r WHERE {condition}"), *values)
    except STATEMENT_TIMEOUT:
        return NOTHING_SEEN
    counted = await _count(db, search, EXAMINED)
    if counted is None:
        return Matches(rows, len(rows), capped=True, values=None)
    total, counts = counted
    return Matches(rows, total, total >= EXAMINED, counts)


async def _count(db: Connection, search: Search, limit: int | None) -> tuple[int, facets.Counted] | None:
    """How many match, but no more than the limit, and their values; none if there is no time for it."""
    values: list[Any] = []
    tables = _matched(search, values, bounded=False, limit=limit)
    try:
        async with db.transaction(readonly=True):
            await db.execute(settings(search, bounded=False))
            row = await db.fetchrow(
                f"WITH {tables} SELECT (SELECT count(*) FROM matched) AS total, {_facets(search)}", *values
            )
    except STATEMENT_TIMEOUT:
        return None
    return (row["total"], row["_facets"]) if row else None


def _by_score(search: Search, after: Sequence[Any], values: list[Any]) -> str:
    """Behind a hit with this score and key."""
    values += [search.meaning.ranking if search.meaning else "", search.index.weights_of(search.question.fields)]
    score = f"ts_rank(${len(values)}::float4[], _words, ${len(values) - 1}::text::tsquery, 1)::float8"
    condition = "true"
    if after:
        values.append(after[0])
        known = f"${len(values)}::float8"
        beyond = ordering.after(ordering.read(search.dataset, ""), search.dataset, "s", after[1:], values)
        condition = f"_score < {known} OR (_score = {known} AND {beyond})"
    keys = _keys(search)
    return f"""
        SELECT {_shown(search)}, p._score, p._place FROM (
            SELECT *, row_number() OVER () AS _place FROM (
                SELECT {keys}, _score FROM (SELECT {keys}, {score} AS _score FROM matched) s
                WHERE {condition} ORDER BY _score DESC, {keys} LIMIT {search.question.limit + 1}
            ) best
        ) p JOIN {_table(search)} r USING ({keys})
    """


def _by_order(search: Search, after: Sequence[Any], values: list[Any]) -> str:
    condition = ordering.after(search.question.order, search.dataset, "r", after, values) if after else "true"
    joined = f"FROM matched m JOIN {_table(search)} r USING ({_keys(search)})"
    return _ordered(search, f"{joined} WHERE {condition}")


def _facets(search: Search) -> str:
    return f"({facets.sql(len(search.question.facets))}) AS _facets"


def _ordered(search: Search, rows: str) -> str:
    dataset, terms = search.dataset, search.question.order
    last = ", ".join(f"{e} AS _last{n}" for n, e in enumerate(ordering.expressions(terms, dataset, "r")))
    return f"""
        SELECT *, row_number() OVER () AS _place FROM (
            SELECT {_shown(search)}, 0::float8 AS _score, {last} {rows}
            ORDER BY {ordering.sql(terms, dataset, "r")} LIMIT {search.question.limit + 1}
        ) first
    """


def _shown(search: Search) -> str:
    return ", ".join(quoted("r", name) for name in columns(search.dataset))


def _keys(search: Search) -> str:
    return ", ".join(f'"{name}"' for name in search.dataset.key)


def _table(search: Search) -> str:
    return f'data."{search.dataset.name}"'
