"""The parser of filters, in PostgREST's grammar.

After the operator, the rest of a parameter is its value. Within `or=(…)` and lists, a value ends at a comma or a
closing parenthesis, unless it is in double quotes. Within quotes, a backslash escapes the next character.
"""

import re
from typing import cast

from shared.catalog import field_types
from shared.catalog.dataset import Field
from shared.search import values
from shared.search.columns import suggest_name
from shared.search.conditions import (
    OPERATORS,
    PATTERNS,
    STATES,
    BooleanOperator,
    Comparison,
    ComparisonOperator,
    Filter,
    Group,
    InvalidFilter,
    Membership,
    State,
    StateTest,
)

MAX_CONDITIONS = 500
MAX_DEPTH = 20
NEGATION = re.compile(r"(not\.)?")
GROUP = re.compile(r"\s*(not\.)?(and|or)\s*\(")
NAME = re.compile(r"\s*([^.,()\"\s]+)\.")
OPERATOR = re.compile(r"([a-z]+)\.")
QUOTED = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*(?=[,)])', re.DOTALL)
QUOTE = re.compile(r'\s*"')
OPENING, CLOSING, NEXT = re.compile(r"\s*\("), re.compile(r"\s*\)"), re.compile(r"\s*([,)])")
PLAIN = re.compile(r"[^,)]*")


class FilterParser:
    """Parses the parameters of one request, and limits the number of their conditions."""

    def __init__(self, fields: dict[str, Field]) -> None:
        self._fields = fields
        self._left = MAX_CONDITIONS

    def parse(self, parameter: str, text: str) -> Filter:
        """Parses one parameter. Raises InvalidFilter."""
        return _ParameterParser(self, parameter, text).filter()

    def field(self, parameter: str, name: str) -> Field:
        """Returns the field of the next condition. Raises InvalidFilter, also for too many conditions."""
        self._left -= 1
        if self._left < 0:
            raise InvalidFilter(parameter, "too_many", f"More than {MAX_CONDITIONS} conditions: use fewer.")
        try:
            return self._fields[name]
        except KeyError as error:
            detail = f"{name!r} is no field: {suggest_name(name, self._fields)}"
            raise InvalidFilter(parameter, "unknown_field", detail) from error


class _ParameterParser:
    """Parses the text of one parameter from left to right."""

    def __init__(self, parser: FilterParser, parameter: str, text: str) -> None:
        self._parser = parser
        self._parameter = parameter
        self._text = text
        self._at = 0
        self._depth = 0

    def filter(self) -> Filter:
        negation, _, operator = self._parameter.rpartition(".")
        if operator in ("and", "or") and negation in ("", "not"):
            if not self._take(OPENING):
                raise self._error("syntax", f"write {self._parameter}=(price.gt.5,name.is.null)")
            group: Filter = self._group(cast("BooleanOperator", operator), negated=bool(negation))
            self._check_end()
            return group
        return self._condition(self._parser.field(self._parameter, self._parameter), nested=False)

    def _group(self, operator: BooleanOperator, *, negated: bool) -> Group:
        """Parses from after the opening parenthesis to after the closing one."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error("too_deep", f"parentheses can be nested {MAX_DEPTH} levels deep")
        parts: list[Filter] = []
        while True:
            if nested := self._take(GROUP):
                parts.append(self._group(cast("BooleanOperator", nested[2]), negated=bool(nested[1])))
            elif name := self._take(NAME):
                parts.append(self._condition(self._parser.field(self._parameter, name[1]), nested=True))
            else:
                raise self._error("syntax", f"a condition like price.gt.5 should follow at {self._here()}")
            if not self._take_comma():
                self._depth -= 1
                return Group(operator, tuple(parts), negated)

    def _condition(self, field: Field, *, nested: bool) -> Filter:
        start = self._at
        negated = bool(self._need(NEGATION)[1])
        match = self._take(OPERATOR)
        if match is None:
            rest = self._text[start : start + values.MAX_SHOWN]
            separator = "." if nested else "="
            raise self._error("no_operator", f"an operator is missing; write {field.name}{separator}eq.{rest}")
        operator = match[1]
        if operator not in OPERATORS:
            raise self._error("unknown_operator", f"{operator!r} is no operator: {suggest_name(operator, OPERATORS)}")
        self._check_operator(field, operator)
        if operator == "in":
            return Membership(field.name, self._list(field, nested=nested), negated)
        value = self._value() if nested else self._rest()
        if operator == "is":
            return StateTest(field.name, self._state(field, value.strip()), negated)
        if operator in PATTERNS and _ends_with_open_escape(value):
            raise self._error("bad_pattern", r"the pattern ends with a single \; a backslash itself is \\")
        self._check_value(field, value)
        return Comparison(field.name, cast("ComparisonOperator", operator), value, negated)

    def _list(self, field: Field, *, nested: bool) -> tuple[str, ...]:
        if not self._take(OPENING):
            raise self._error("syntax", f'a list is in parentheses: in.(1,2) or in.("a,b",c), at {self._here()}')
        members: list[str] = []
        if not self._take(CLOSING):
            members.append(self._value())
            while self._take_comma():
                members.append(self._value())
        if not nested:
            self._check_end()
        for value in members:
            self._check_value(field, value)
        return tuple(members)

    def _value(self) -> str:
        if quoted := self._take(QUOTED):
            return re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)
        if QUOTE.match(self._text, self._at):
            raise self._error(
                "syntax", rf'a quoted value ends with " and escapes inner quotes as \", at {self._here()}'
            )
        return self._need(PLAIN)[0]

    def _rest(self) -> str:
        rest, self._at = self._text[self._at :], len(self._text)
        return rest

    def _state(self, field: Field, text: str) -> State:
        states = STATES if field.type == "boolean" else STATES[:2]
        if text not in states:
            raise self._error("bad_state", f"{field.name} allows is.{', is.'.join(states)}, not is.{text}")
        return cast("State", text)

    def _check_value(self, field: Field, text: str) -> None:
        try:
            values.parse(field.type, text)
        except values.InvalidValue as error:
            raise self._error("type", f"{field.name} {error}") from error

    def _check_operator(self, field: Field, operator: str) -> None:
        field_type = field_types.find(field.type)
        allowed = [o for o in OPERATORS if o not in PATTERNS] if field_type.ordered else ["eq", "neq", "in", "is"]
        if operator not in allowed and not (operator in PATTERNS and field_type.name == "string"):
            detail = f"{field.name} is {field_type.name}, which does not support {operator}: use {', '.join(allowed)}"
            raise self._error("unfit_operator", detail)

    def _take_comma(self) -> bool:
        """Consumes a comma or a closing parenthesis. Returns whether it was a comma."""
        match = self._take(NEXT)
        if match is None:
            raise self._error("syntax", f"a comma or a closing parenthesis is missing at {self._here()}")
        return match[1] == ","

    def _check_end(self) -> None:
        if self._text[self._at :].strip():
            raise self._error("syntax", f"unexpected text after the closing parenthesis: {self._here()}")

    def _here(self) -> str:
        rest = self._text[self._at : self._at + values.MAX_SHOWN]
        return repr(rest) if rest else "the end"

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._text, self._at)
        if match:
            self._at = match.end()
        return match

    def _need(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """Takes a pattern that also matches the empty text."""
        match = self._take(pattern)
        assert match is not None  # noqa: S101
        return match

    def _error(self, code: str, problem: str) -> InvalidFilter:
        detail = problem if problem.startswith(f"{self._parameter} ") else f"{self._parameter}: {problem}"
        return InvalidFilter(self._parameter, code, detail if detail.endswith((".", "?")) else f"{detail}.")


def _ends_with_open_escape(pattern: str) -> bool:
    return (len(pattern) - len(pattern.rstrip("\\"))) % 2 == 1
