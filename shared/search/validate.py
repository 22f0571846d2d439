"""Whether a question fits a dataset: what it names must be there. It may have been asked before a new declaration."""

from collections.abc import Sequence

from shared.catalog.dataset import Dataset, Search
from shared.search.columns import BadQuestion, columns, nearest
from shared.search.query import Question

MOST_FACETS = 20
"""Postgres groups by 31 fields in one go."""


def check(dataset: Dataset, search: Search, question: Question) -> None:
    """Raises BadQuestion. Filters are checked when they become SQL."""
    for parameter, names in (("fields", question.fields), ("highlight", question.highlight)):
        _check_names(parameter, names, search.fields, f"is not searched in {dataset.name}")
    fit = [name for name, field in columns(dataset).items() if field.type != "object"]
    _check_names("facets", question.facets, fit, "is no field whose values can be counted")
    if len(question.facets) > MOST_FACETS:
        detail = f"facets: at most {MOST_FACETS} fields, not {len(question.facets)}."
        raise BadQuestion("facets", "too_many", detail)
    _check_names("sort", [term.field for term in question.order], fit, "is no field that has an order")
    shared = search.fields[3:]
    missing = [name for name in shared if name not in question.fields]
    if len(shared) > 1 and missing and set(shared) & set(question.fields):
        raise BadQuestion("fields", "unfit_fields", f"fields: {', '.join(shared)} can only be searched together.")


def _check_names(parameter: str, names: Sequence[str], known: Sequence[str], what: str) -> None:
    for name in names:
        if name not in known:
            raise BadQuestion(parameter, "unknown_field", f"{parameter}: {name!r} {what}: {nearest(name, known)}")
        if names.count(name) > 1:
            raise BadQuestion(parameter, "twice", f"{parameter}: {name!r} is named twice.")
