"""Sort orders: `price.desc,name.asc.nullsfirst`, completed by the key, so that the order of rows is total.

By default nulls come last in ascending and first in descending order, as in Postgres.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from shared.catalog import field_types
from shared.catalog.dataset import Dataset, Field
from shared.catalog.dataset_mistakes import LONGEST_KEY
from shared.search.columns import InvalidQuery, columns, quote_column, suggest_name

MAX_TERMS = 10
DIRECTIONS = {"asc": False, "desc": True}
NULLS = {"nullsfirst": True, "nullslast": False}
MODIFIERS = (*DIRECTIONS, *NULLS)


class InvalidOrder(InvalidQuery):
    """An order that can't be parsed, or does not fit the dataset."""


class SortTerm(msgspec.Struct, frozen=True):
    """A field to sort by."""

    field: str
    descending: bool = False
    nulls_first: bool = False


def parse(dataset: Dataset, text: str, parameter: str = "order") -> tuple[SortTerm, ...]:
    """Parses an order and appends the fields of the key, in the direction of the last term. Raises InvalidOrder."""
    fields = columns(dataset)
    terms = [_term(fields, part.strip(), parameter) for part in text.split(",")] if text else []
    names = [term.field for term in terms]
    if duplicate := next((name for name in names if names.count(name) > 1), None):
        raise InvalidOrder(parameter, "twice", f"{parameter}: {duplicate!r} is named twice.")
    if len(terms) > MAX_TERMS:
        raise InvalidOrder(parameter, "too_many", f"{parameter}: at most {MAX_TERMS} fields, not {len(terms)}.")
    descending = bool(terms) and terms[-1].descending
    return (*terms, *(SortTerm(name, descending, descending) for name in dataset.key if name not in names))


def to_sql(terms: Sequence[SortTerm], dataset: Dataset, table: str) -> str:
    """Returns the ORDER BY list. Defaults are omitted, so that an index can serve it."""
    return ", ".join(
        expression
        + (" DESC" if term.descending else "")
        + ("" if term.nulls_first == term.descending else " NULLS FIRST" if term.nulls_first else " NULLS LAST")
        for term, expression in zip(terms, expressions(terms, dataset, table), strict=True)
    )


def expressions(terms: Sequence[SortTerm], dataset: Dataset, table: str) -> list[str]:
    """Returns the sort expressions, whose values a cursor holds. Texts too long for an index compare by a prefix."""
    fields = columns(dataset)
    found = []
    for term in terms:
        column, field = quote_column(table, term.field), fields[term.field]
        long = field.type == "string" and (field.max_length is None or field.max_length > LONGEST_KEY)
        found.append(f"left({column}, {LONGEST_KEY})" if long else column)
    return found


def after(terms: Sequence[SortTerm], dataset: Dataset, table: str, last: Sequence[Any], values: list[Any]) -> str:
    """Returns the condition for rows after the row with values `last`; appends the values of its `$n` to `values`."""
    fields = columns(dataset)
    comparisons = [
        _TermComparison(term, fields[term.field], expression, value, values)
        for term, expression, value in zip(terms, expressions(terms, dataset, table), last, strict=True)
    ]
    first, sign = comparisons[0], "<" if terms[0].descending else ">"
    nullable = any(comparison.nullable for comparison in comparisons)
    if not nullable and all(term.descending == terms[0].descending for term in terms):
        # The only form that Postgres can look up in an index on all columns.
        left = ", ".join(comparison.expression for comparison in comparisons)
        right = ", ".join(comparison.value for comparison in comparisons)
        return f"({left}) {sign} ({right})"
    condition = "false"
    for comparison in reversed(comparisons):
        condition = f"({comparison.after()} OR ({comparison.equal()} AND {condition}))"
    return condition if first.nullable else f"{first.expression} {sign}= {first.value} AND {condition}"


class _TermComparison:
    """Compares the expression of one term with its value in the last row."""

    def __init__(self, term: SortTerm, field: Field, expression: str, value: Any, values: list[Any]) -> None:
        self.expression = expression
        self.nullable = not (field.required or field.generated)
        self._term = term
        self._is_null = value is None
        self.value = "NULL"
        if not self._is_null:
            values.append(value)
            self.value = f"${len(values)}::{field_types.find_parameter(field.type).cast}"

    def after(self) -> str:
        if self._is_null:
            return f"{self.expression} IS NOT NULL" if self._term.nulls_first else "false"
        after = f"{self.expression} {'<' if self._term.descending else '>'} {self.value}"
        return f"({after} OR {self.expression} IS NULL)" if self.nullable and not self._term.nulls_first else after

    def equal(self) -> str:
        return f"{self.expression} IS NULL" if self._is_null else f"{self.expression} = {self.value}"


def _term(fields: dict[str, Field], text: str, parameter: str) -> SortTerm:
    name, *modifiers = text.split(".")
    if name not in fields:
        detail = f"{parameter}: {name!r} is no field: {suggest_name(name, fields)}"
        raise InvalidOrder(parameter, "unknown_field", detail)
    field = fields[name]
    if field.type == "object":
        raise InvalidOrder(parameter, "unfit_order", f"{parameter}: {name} is an object, and objects have no order.")
    direction = modifiers.pop(0) if modifiers and modifiers[0] in DIRECTIONS else "asc"
    nulls = modifiers.pop(0) if modifiers and modifiers[0] in NULLS else None
    if modifiers:
        detail = f"{parameter}: {modifiers[0]!r} can't follow {name}; write {name}.desc or {name}.asc.nullsfirst"
        raise InvalidOrder(parameter, "bad_direction", f"{detail}: there are {', '.join(MODIFIERS)}.")
    descending = DIRECTIONS[direction]
    nullable = not (field.required or field.generated)
    return SortTerm(name, descending, NULLS[nulls] if nulls and nullable else descending)
