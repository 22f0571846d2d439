"""The parsed form of a filter. It can travel in a message: values stay the texts of the request."""

from typing import Literal, get_args

import msgspec

from shared.search.columns import InvalidQuery

ComparisonOperator = Literal["eq", "neq", "gt", "gte", "lt", "lte", "like", "ilike"]
State = Literal["null", "not_null", "true", "false", "unknown"]
BooleanOperator = Literal["and", "or"]
PATTERNS = ("like", "ilike")
OPERATORS = (*get_args(ComparisonOperator), "in", "is")
STATES = get_args(State)


class InvalidFilter(InvalidQuery):
    """A filter that can't be parsed, or does not fit the dataset."""


class Comparison(msgspec.Struct, frozen=True, tag="comparison"):
    """Compares a field with a value."""

    field: str
    operator: ComparisonOperator
    value: str
    negated: bool = False


class Membership(msgspec.Struct, frozen=True, tag="membership"):
    """Tests whether a list contains the field's value."""

    field: str
    values: tuple[str, ...]
    negated: bool = False


class StateTest(msgspec.Struct, frozen=True, tag="presence"):
    """Tests for null or a truth value. A null meets no other condition, negated or not."""

    field: str
    state: State
    negated: bool = False


class Group(msgspec.Struct, frozen=True, tag="group", rename={"operator": "joint"}):
    """Filters of which all (`and`) or any (`or`) must hold."""

    operator: BooleanOperator
    parts: tuple["Filter", ...]
    negated: bool = False


Filter = Comparison | Membership | StateTest | Group
