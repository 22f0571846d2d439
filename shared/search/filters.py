"""Which rows: the operators of PostgREST on declared fields, from parameters to SQL.

`price=gte.10`, `name=not.ilike.*chair*`, `or=(price.lt.5,and(category.eq.wood,available.is.true))`. A field that is
called like a parameter of the route can be named within `and=(…)`.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from shared.catalog import field_types
from shared.catalog.dataset import Dataset, Field
from shared.search import values as texts
from shared.search.columns import columns, quoted
from shared.search.conditions import (
    PATTERNS,
    BadFilter,
    Comparison,
    Filter,
    Group,
    Membership,
    Presence,
)
from shared.search.grammar import Conditions

__all__ = ["LOGIC", "BadFilter", "Filter", "read", "sql"]

LOGIC = ("and", "or", "not.and", "not.or")
"""Parameters that are no field but join conditions."""
SIGNS = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "like": "LIKE", "ilike": "ILIKE"}
TESTS = {
    "null": "IS NULL",
    "not_null": "IS NOT NULL",
    "true": "IS TRUE",
    "false": "IS FALSE",
    "unknown": "IS UNKNOWN",
}
STAR = re.compile(r"(\\.)|\*", re.DOTALL)


def read(dataset: Dataset, parameters: Iterable[tuple[str, str]]) -> tuple[Filter, ...]:
    """What all must hold. Raises BadFilter for the first that is wrong."""
    conditions = Conditions(columns(dataset))
    return tuple(conditions.read(name, text) for name, text in parameters)


def sql(filters: Sequence[Filter], dataset: Dataset, table: str, values: list[Any]) -> str:
    """A condition on the rows of `table`; what its `$n` stand for is added to `values`.

    Raises BadFilter for a filter that was read when the dataset was declared otherwise.
    """
    writer = _Writer(columns(dataset), table, values)
    return " AND ".join(writer.condition(one) for one in filters) or "true"


class _Writer:
    def __init__(self, fields: dict[str, Field], table: str, values: list[Any]) -> None:
        self._fields = fields
        self._table = table
        self._values = values

    def condition(self, one: Filter) -> str:
        written = f"({self._plain(one)})"
        return f"NOT {written}" if one.negated else written

    def _plain(self, one: Filter) -> str:
        if isinstance(one, Group):
            return f" {one.joint.upper()} ".join(self.condition(part) for part in one.parts)
        field = self._fields.get(one.field)
        if field is None:
            raise BadFilter(one.field, "unknown_field", f"{one.field!r} is no longer a field.")
        column, parameter = quoted(self._table, one.field), field_types.find_parameter(field.type)
        match one:
            case Presence():
                return f"{column} {TESTS[one.state]}"
            case Membership():
                found = [_value(field, text) for text in one.values]
                return f"{column} = ANY({self._parameter(found)}::{parameter.array_cast})"
            case Comparison():
                value = _value(field, one.value)
                if one.operator in PATTERNS:
                    value = STAR.sub(lambda match: match[1] or "%", value)
                return f"{column} {SIGNS[one.operator]} {self._parameter(value)}::{parameter.cast}"

    def _parameter(self, value: Any) -> str:
        self._values.append(value)
        return f"${len(self._values)}"


def _value(field: Field, text: str) -> Any:
    try:
        return texts.read(field.type, text)
    except texts.NotOfType as error:
        raise BadFilter(field.name, "type", f"{field.name} {error}.") from error
