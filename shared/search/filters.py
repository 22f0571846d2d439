"""Filters: the operators of PostgREST on declared fields, from parameters to SQL.

`price=gte.10`, `name=not.ilike.*chair*`, `or=(price.lt.5,and(category.eq.wood,available.is.true))`. A field with the
name of a parameter of the route can be filtered within `and=(…)`.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from shared.catalog import field_types
from shared.catalog.dataset import Dataset, Field
from shared.search import values as field_values
from shared.search.columns import columns, quote_column
from shared.search.conditions import (
    PATTERNS,
    Comparison,
    Filter,
    Group,
    InvalidFilter,
    Membership,
    StateTest,
)
from shared.search.grammar import FilterParser

__all__ = ["LOGIC", "Filter", "InvalidFilter", "parse", "to_sql"]

LOGIC = ("and", "or", "not.and", "not.or")
"""Parameters that join filters instead of naming a field."""
SIGNS = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "like": "LIKE", "ilike": "ILIKE"}
STATE_TESTS = {
    "null": "IS NULL",
    "not_null": "IS NOT NULL",
    "true": "IS TRUE",
    "false": "IS FALSE",
    "unknown": "IS UNKNOWN",
}
STAR = re.compile(r"(\\.)|\*", re.DOTALL)


def parse(dataset: Dataset, parameters: Iterable[tuple[str, str]]) -> tuple[Filter, ...]:
    """Parses parameters, which are joined by AND. Raises InvalidFilter for the first that is wrong."""
    parser = FilterParser(columns(dataset))
    return tuple(parser.parse(name, text) for name, text in parameters)


def to_sql(filters: Sequence[Filter], dataset: Dataset, table: str, values: list[Any]) -> str:
    """Returns a condition on the rows of `table`, and appends the values of its `$n` to `values`.

    Raises InvalidFilter for a filter that was parsed under another declaration and no longer fits.
    """
    writer = _SqlWriter(columns(dataset), table, values)
    return " AND ".join(writer.condition(filter_) for filter_ in filters) or "true"


class _SqlWriter:
    def __init__(self, fields: dict[str, Field], table: str, values: list[Any]) -> None:
        self._fields = fields
        self._table = table
        self._values = values

    def condition(self, filter_: Filter) -> str:
        condition = f"({self._unnegated(filter_)})"
        return f"NOT {condition}" if filter_.negated else condition

    def _unnegated(self, filter_: Filter) -> str:
        if isinstance(filter_, Group):
            return f" {filter_.operator.upper()} ".join(self.condition(part) for part in filter_.parts)
        field = self._fields.get(filter_.field)
        if field is None:
            raise InvalidFilter(filter_.field, "unknown_field", f"{filter_.field!r} is no longer a field.")
        column, parameter = quote_column(self._table, filter_.field), field_types.find_parameter(field.type)
        match filter_:
            case StateTest():
                return f"{column} {STATE_TESTS[filter_.state]}"
            case Membership():
                members = [_value(field, text) for text in filter_.values]
                return f"{column} = ANY({self._parameter(members)}::{parameter.array_cast})"
            case Comparison():
                value = _value(field, filter_.value)
                if filter_.operator in PATTERNS:
                    value = STAR.sub(lambda match: match[1] or "%", value)
                return f"{column} {SIGNS[filter_.operator]} {self._parameter(value)}::{parameter.cast}"

    def _parameter(self, value: Any) -> str:
        self._values.append(value)
        return f"${len(self._values)}"


def _value(field: Field, text: str) -> Any:
    try:
        return field_values.parse(field.type, text)
    except field_values.InvalidValue as error:
        raise InvalidFilter(field.name, "type", f"{field.name} {error}.") from error
