"""Conditions on the rows of a dataset. They can travel in a message: values stay the texts that they were asked as."""

from typing import Literal, get_args

import msgspec

from shared.search.columns import BadQuestion

Comparing = Literal["eq", "neq", "gt", "gte", "lt", "lte", "like", "ilike"]
State = Literal["null", "not_null", "true", "false", "unknown"]
Joint = Literal["and", "or"]
PATTERNS = ("like", "ilike")
OPERATORS = (*get_args(Comparing), "in", "is")
STATES = get_args(State)


class BadFilter(BadQuestion):
    """A condition that can't be asked for."""


class Comparison(msgspec.Struct, frozen=True, tag="comparison"):
    """Of a field with a value."""

    field: str
    operator: Comparing
    value: str
    negated: bool = False


class Membership(msgspec.Struct, frozen=True, tag="membership"):
    """Of a field's value in a list."""

    field: str
    values: tuple[str, ...]
    negated: bool = False


class Presence(msgspec.Struct, frozen=True, tag="presence"):
    """Whether a field has a value, or which truth: no other condition is met by a missing value, negated or not."""

    field: str
    state: State
    negated: bool = False


class Group(msgspec.Struct, frozen=True, tag="group"):
    """Conditions of which all must hold, or any."""

    joint: Joint
    parts: tuple["Filter", ...]
    negated: bool = False


Filter = Comparison | Membership | Presence | Group
