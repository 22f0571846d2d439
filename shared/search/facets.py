"""Which values the hits have, and how many of them each. Pure."""

from collections.abc import Sequence
from typing import Any

from shared.search.query import Facet, Value

Counted = list[dict[str, Any]] | None
"""For each value of each field, how many hits have it; as Postgres counts, and none of no hits."""
MOST_VALUES = 100


def sql(fields: int) -> str:
    """Counts the values of so many fields, which `matched` has as `_facet0`, `_facet1` …, in one go."""
    if not fields:
        return "SELECT NULL::jsonb"
    names = [f"_facet{number}" for number in range(fields)]
    sets = ", ".join(f"({name})" for name in names)
    columns = ", ".join(names)
    return f"""
        SELECT jsonb_agg(to_jsonb(counted)) FROM (
            SELECT grouping({columns}) AS of, count(*) AS count, {columns} FROM matched GROUP BY GROUPING SETS ({sets})
        ) counted
    """


def read(names: Sequence[str], counted: Counted, *, approximate: bool) -> dict[str, Facet]:
    """By field, the most frequent values first."""
    found = {}
    for number, name in enumerate(names):
        # `grouping` has a bit for each field, the last one lowest, and 0 for the one that a line is grouped by.
        own = (1 << len(names)) - 1 - (1 << (len(names) - 1 - number))
        column = f"_facet{number}"
        values = [Value(one[column], one["count"]) for one in counted or () if one["of"] == own]
        values.sort(key=lambda one: (-one.count, one.value is None, str(one.value)))
        hits = sum(value.count for value in values)
        shown = values[:MOST_VALUES]
        found[name] = Facet(shown, hits - sum(value.count for value in shown), hits, approximate)
    return found
