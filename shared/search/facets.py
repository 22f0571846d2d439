"""Facets: the values of a field among the hits, with the number of hits that have each. Pure."""

from collections.abc import Sequence
from typing import Any

from shared.search.query import Facet, FacetValue

FacetCounts = list[dict[str, Any]] | None
"""One line for each value of each field, as `to_sql` returns them; None without hits."""
MAX_VALUES = 100


def to_sql(fields: int) -> str:
    """Counts the values of `_facet0`, `_facet1` … of the table `matched`, for so many fields in one pass."""
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


def build(names: Sequence[str], counts: FacetCounts, *, approximate: bool) -> dict[str, Facet]:
    """Returns the facets by field, each with its most frequent values first."""
    facets = {}
    for number, name in enumerate(names):
        # `grouping` has a bit for each field, the last one lowest, and 0 for the field that a line is grouped by.
        grouping = (1 << len(names)) - 1 - (1 << (len(names) - 1 - number))
        column = f"_facet{number}"
        values = [FacetValue(line[column], line["count"]) for line in counts or () if line["of"] == grouping]
        values.sort(key=lambda value: (-value.count, value.value is None, str(value.value)))
        hits = sum(value.count for value in values)
        shown = values[:MAX_VALUES]
        facets[name] = Facet(shown, hits - sum(value.count for value in shown), hits, approximate)
    return facets
