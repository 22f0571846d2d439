"""Which values the hits have, and how many of them each."""

from typing import Any

from shared.db import Connection
from shared.db.faults import TOO_LONG
from shared.search import matching
from shared.search.columns import quoted
from shared.search.matching import EXAMINED, Search
from shared.search.question import Facet, Value

COUNTED = 5000
"""Hits whose values are counted; of more, the first."""
MOST_VALUES = 100
NOT_COUNTED = Facet(values=[], other_count=0, counted=0, approximate=True)
"""For want of time."""


async def select(db: Connection, search: Search) -> dict[str, Facet]:
    """Of each field that is asked for."""
    names = search.question.facets
    values: list[Any] = []
    matched = matching.matched(search, values, bounded=True, limit=COUNTED + 1)
    try:
        async with db.transaction(readonly=True):
            await db.execute(matching.settings(search, bounded=True))
            rows = await db.fetch(_query(search, matched), *values)
    except TOO_LONG:
        return dict.fromkeys(names, NOT_COUNTED)
    capped = rows[0]["_matched"] > COUNTED or (
        search.meaning is not None and (search.is_common or rows[0]["_examined"] >= EXAMINED)
    )
    return {name: _facet(name, _set(number, len(names)), rows, capped=capped) for number, name in enumerate(names)}


def _query(search: Search, matched: str) -> str:
    names = search.question.facets
    keys = ", ".join(f'"{name}"' for name in search.dataset.key)
    fields = ", ".join(quoted("r", name) for name in names)
    sets = ", ".join(f"({quoted('r', name)})" for name in names)
    return f"""
        WITH {matched}, counted AS (
            SELECT {fields}, grouping({fields}) AS _set, count(*) AS _count
            FROM (SELECT * FROM matched LIMIT {COUNTED}) m JOIN data."{search.dataset.name}" r USING ({keys})
            GROUP BY GROUPING SETS ({sets})
        ), told AS (
            SELECT (SELECT count(*) FROM matched) AS _matched,
                   CASE WHEN (SELECT count(*) FROM matched) <= {COUNTED} THEN (SELECT count(*) FROM examined) END
                       AS _examined
        )
        SELECT * FROM told LEFT JOIN counted ON true
    """


def _set(number: int, fields: int) -> int:
    """What `grouping` gives for rows that are grouped by this field: a bit for each other, the last one lowest."""
    return (1 << fields) - 1 - (1 << (fields - 1 - number))


def _facet(name: str, own: int, rows: list[Any], *, capped: bool) -> Facet:
    found = [Value(row[name], row["_count"]) for row in rows if row["_set"] == own]
    shown = sorted(found, key=lambda one: (-one.count, one.value is None, str(one.value)))[:MOST_VALUES]
    counted = sum(one.count for one in found)
    return Facet(
        values=shown,
        other_count=counted - sum(value.count for value in shown),
        counted=counted,
        approximate=capped,
    )
