"""Checks that a query fits a dataset. A stored query may be older than the declaration."""

from collections.abc import Sequence

from shared.catalog.dataset import Dataset, Search
from shared.search.columns import InvalidQuery, columns, suggest_name
from shared.search.query import SearchQuery

MAX_FACETS = 20
"""Postgres groups by at most 31 fields in one pass."""


def check_query(dataset: Dataset, search: Search, query: SearchQuery) -> None:
    """Raises InvalidQuery. Filters are checked when they are written as SQL."""
    for parameter, names in (("fields", query.fields), ("highlight", query.highlight)):
        _check_names(parameter, names, search.fields, f"is not searched in {dataset.name}")
    comparable = [name for name, field in columns(dataset).items() if field.type != "object"]
    _check_names("facets", query.facets, comparable, "is not a field whose values can be counted")
    if len(query.facets) > MAX_FACETS:
        detail = f"facets: at most {MAX_FACETS} fields, not {len(query.facets)}."
        raise InvalidQuery("facets", "too_many", detail)
    _check_names("sort", [term.field for term in query.order], comparable, "is not a field that has an order")
    shared = search.fields[3:]
    missing = [name for name in shared if name not in query.fields]
    if len(shared) > 1 and missing and set(shared) & set(query.fields):
        raise InvalidQuery("fields", "unfit_fields", f"fields: {', '.join(shared)} can only be searched together.")


def _check_names(parameter: str, names: Sequence[str], known: Sequence[str], problem: str) -> None:
    for name in names:
        if name not in known:
            detail = f"{parameter}: {name!r} {problem}: {suggest_name(name, known)}"
            raise InvalidQuery(parameter, "unknown_field", detail)
        if names.count(name) > 1:
            raise InvalidQuery(parameter, "twice", f"{parameter}: {name!r} is named twice.")
