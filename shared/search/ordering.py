"""In which order: `price.desc,name.asc.nullsfirst`, completed by the key so that no two rows are alike.

Without a word about missing values they come last, and first of a descending order, as Postgres has it.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from shared.catalog import field_types
from shared.catalog.dataset import Dataset, Field
from shared.catalog.dataset_mistakes import LONGEST_KEY
from shared.search.columns import BadQuestion, columns, nearest, quoted

MOST_TERMS = 10
DIRECTIONS = {"asc": False, "desc": True}
NULLS = {"nullsfirst": True, "nullslast": False}
WORDS = (*DIRECTIONS, *NULLS)


class BadOrder(BadQuestion):
    """An order that can't be asked for."""


class Term(msgspec.Struct, frozen=True):
    """A field by whose values rows are ordered."""

    field: str
    descending: bool = False
    nulls_first: bool = False


def read(dataset: Dataset, text: str, parameter: str = "order") -> tuple[Term, ...]:
    """Of no text, the order of the key. Ties are in the order of the key too, in the direction of the last term.

    Raises BadOrder.
    """
    known = columns(dataset)
    terms = [_term(known, part.strip(), parameter) for part in text.split(",")] if text else []
    names = [term.field for term in terms]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadOrder(parameter, "twice", f"{parameter}: {twice!r} is named twice.")
    if len(terms) > MOST_TERMS:
        raise BadOrder(parameter, "too_many", f"{parameter}: at most {MOST_TERMS} fields, not {len(terms)}.")
    descending = bool(terms) and terms[-1].descending
    return (*terms, *(Term(name, descending, descending) for name in dataset.key if name not in names))


def sql(terms: Sequence[Term], dataset: Dataset, table: str) -> str:
    """What stands behind ORDER BY. Nothing is said that an index need not know."""
    return ", ".join(
        expression
        + (" DESC" if term.descending else "")
        + ("" if term.nulls_first == term.descending else " NULLS FIRST" if term.nulls_first else " NULLS LAST")
        for term, expression in zip(terms, expressions(terms, dataset, table), strict=True)
    )


def expressions(terms: Sequence[Term], dataset: Dataset, table: str) -> list[str]:
    """What rows are compared by, and what a cursor keeps: of texts that no index can hold, only how they begin."""
    known = columns(dataset)
    found = []
    for term in terms:
        column, field = quoted(table, term.field), known[term.field]
        long = field.type == "string" and (field.max_length is None or field.max_length > LONGEST_KEY)
        found.append(f"left({column}, {LONGEST_KEY})" if long else column)
    return found


def after(terms: Sequence[Term], dataset: Dataset, table: str, last: Sequence[Any], values: list[Any]) -> str:
    """Which rows come after the one with the values `last`; what the `$n` stand for is added to `values`."""
    known = columns(dataset)
    sides = [
        _Side(term, known[term.field], expression, value, values)
        for term, expression, value in zip(terms, expressions(terms, dataset, table), last, strict=True)
    ]
    sign = "<" if terms[0].descending else ">"
    fixed = not any(side.nullable for side in sides)
    if fixed and all(term.descending == terms[0].descending for term in terms):
        # The one form that Postgres can look up in an index on all of it.
        left, right = ", ".join(side.expression for side in sides), ", ".join(side.value for side in sides)
        return f"({left}) {sign} ({right})"
    condition = "false"
    for side in reversed(sides):
        condition = f"({side.beyond()} OR ({side.same()} AND {condition}))"
    return condition if sides[0].nullable else f"{sides[0].expression} {sign}= {sides[0].value} AND {condition}"


class _Side:
    """One term and the value that it had in the last row."""

    def __init__(self, term: Term, field: Field, expression: str, value: Any, values: list[Any]) -> None:
        self.expression = expression
        self.nullable = not (field.required or field.generated)
        self._term = term
        self._missing = value is None
        self.value = "NULL"
        if not self._missing:
            values.append(value)
            self.value = f"${len(values)}::{field_types.find_parameter(field.type).cast}"

    def beyond(self) -> str:
        if self._missing:
            return f"{self.expression} IS NOT NULL" if self._term.nulls_first else "false"
        beyond = f"{self.expression} {'<' if self._term.descending else '>'} {self.value}"
        return f"({beyond} OR {self.expression} IS NULL)" if self.nullable and not self._term.nulls_first else beyond

    def same(self) -> str:
        return f"{self.expression} IS NULL" if self._missing else f"{self.expression} = {self.value}"


def _term(known: dict[str, Field], text: str, parameter: str) -> Term:
    name, *words = text.split(".")
    if name not in known:
        raise BadOrder(parameter, "unknown_field", f"{parameter}: {name!r} is no field: {nearest(name, known)}")
    field = known[name]
    if field.type == "object":
        raise BadOrder(parameter, "unfit_order", f"{parameter}: {name} is object, and those have no order.")
    direction = words.pop(0) if words and words[0] in DIRECTIONS else "asc"
    nulls = words.pop(0) if words and words[0] in NULLS else None
    if words:
        detail = f"{parameter}: {words[0]!r} can't follow {name}; write {name}.desc or {name}.asc.nullsfirst"
        raise BadOrder(parameter, "bad_direction", f"{detail}: there are {', '.join(WORDS)}.")
    descending = DIRECTIONS[direction]
    nullable = not (field.required or field.generated)
    return Term(name, descending, NULLS[nulls] if nulls and nullable else descending)
