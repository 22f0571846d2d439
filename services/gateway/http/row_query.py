"""Row queries: filters, order and selected fields, parsed from the parameters of a request."""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from services.gateway.http.problems import Detail, Problem
from shared.catalog.dataset import Dataset
from shared.search import cursors, ordering
from shared.search.columns import InvalidQuery, columns, suggest_name
from shared.search.filters import LOGIC, Filter
from shared.search.grammar import FilterParser
from shared.search.ordering import SortTerm

OPERATORS = (
    "Each field is a filter parameter, with the operators of PostgREST: `eq neq gt gte lt lte like ilike in is`,"
    ' negated by a leading `not.`: `price=gte.10`, `category=in.(wood,"a,b")`, `category=is.null`,'
    " `available=is.true`, `name=not.ilike.*chair*` (`*` matches any text). Filters are joined by AND; for OR, write"
    " `or=(price.lt.5,and(…))`. `and=(limit.eq.5)` filters by a field whose name is also a parameter. Only `is` matches"
    " a missing value."
)
HINT = "Operators and orders are described at /docs."


class RowQuery(msgspec.Struct, frozen=True):
    """Selects rows of a dataset, their order and their columns."""

    dataset: Dataset
    filters: tuple[Filter, ...] = ()
    order: tuple[SortTerm, ...] = ()
    columns: tuple[str, ...] = ()

    def write_cursor(self, last: Sequence[Any]) -> str:
        """Returns the cursor of the page whose last row has these values of the order's fields."""
        return cursors.encode(self._identity(), last)

    def read_cursor(self, cursor: str) -> list[Any]:
        """Returns the values of the last row of the previous page. Raises Problem 422."""
        fields = columns(self.dataset)
        try:
            return cursors.decode(cursor, self._identity(), [fields[term.field] for term in self.order])
        except cursors.InvalidCursor as error:
            raise invalid_query([error]) from error

    def _identity(self) -> Any:
        return self.dataset.name, self.filters, self.order


def parse_row_query(
    dataset: Dataset,
    parameters: Iterable[tuple[str, str]],
    reserved: Collection[str],
    *,
    order: str | None,
    select: str | None,
) -> RowQuery:
    """Parses all parameters of a request except the `reserved` ones, which are not filters.

    Raises Problem 422 with all errors at once.
    """
    conditions = [(name, text) for name, text in parameters if name not in reserved]
    _check_names(dataset, {name for name, _ in conditions}, reserved)
    errors: list[InvalidQuery] = []
    parser = FilterParser(columns(dataset))
    filters: list[Filter] = []
    terms: tuple[SortTerm, ...] = ()
    selected: tuple[str, ...] = ()
    for name, text in conditions:
        with _collect(errors):
            filters.append(parser.parse(name, text))
    with _collect(errors):
        terms = ordering.parse(dataset, order or "")
    with _collect(errors):
        selected = _parse_select(dataset, select)
    if errors:
        raise invalid_query(errors, code="invalid_query")
    return RowQuery(dataset, tuple(filters), terms, selected)


def invalid_query(errors: Sequence[InvalidQuery], code: str | None = None) -> Problem:
    """Returns the problem for these errors; its code is that of the first one by default."""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    details = [Detail(code=error.code, column=error.column, detail=error.detail) for error in errors]
    return Problem(422, code or errors[0].code, errors[0].detail + more, hint=HINT, errors=details)


def _parse_select(dataset: Dataset, select: str | None) -> tuple[str, ...]:
    fields = columns(dataset)
    if select is None:
        return tuple(fields)
    names = tuple(name.strip() for name in select.split(","))
    for name in names:
        if name not in fields:
            raise InvalidQuery("select", "unknown_field", f"select: {name!r} is no field: {suggest_name(name, fields)}")
        if names.count(name) > 1:
            raise InvalidQuery("select", "twice", f"select: {name!r} is named twice.")
    return names


def _check_names(dataset: Dataset, names: set[str], reserved: Collection[str]) -> None:
    fields = columns(dataset)
    unknown = sorted(name for name in names if name not in fields and name not in LOGIC)
    if unknown:
        raise Problem(
            422,
            "unknown_parameter",
            f"{', '.join(unknown)}: neither a parameter of this route nor a field of {dataset.name}.",
            hint="The parameters of every route are listed at /docs, fields in GET /v1/datasets/{dataset}.",
            errors=[
                Detail(
                    code="unknown_parameter",
                    column=name,
                    detail=f"{name!r} is not known: {suggest_name(name, [*sorted(reserved), *fields])}",
                )
                for name in unknown
            ],
        )


@contextlib.contextmanager
def _collect(errors: list[InvalidQuery]) -> Iterator[None]:
    try:
        yield
    except InvalidQuery as error:
        errors.append(error)
