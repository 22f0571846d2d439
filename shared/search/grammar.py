"""Conditions read from parameters, in PostgREST's words.

Behind the operator of a parameter, all is its value. Within `or=(…)` and lists a value ends at a comma or a closing
parenthesis, unless it is in double quotes, where a backslash takes the next character as it is.
"""

import re
from typing import cast

from shared.catalog import field_types
from shared.catalog.dataset import Field
from shared.search import values
from shared.search.columns import nearest
from shared.search.conditions import (
    OPERATORS,
    PATTERNS,
    STATES,
    BadFilter,
    Comparing,
    Comparison,
    Filter,
    Group,
    Joint,
    Membership,
    Presence,
    State,
)

MOST_CONDITIONS = 500
DEEPEST = 20
NEGATION = re.compile(r"(not\.)?")
GROUP = re.compile(r"\s*(not\.)?(and|or)\s*\(")
NAME = re.compile(r"\s*([^.,()\"\s]+)\.")
OPERATOR = re.compile(r"([a-z]+)\.")
QUOTED = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*(?=[,)])', re.DOTALL)
QUOTE = re.compile(r'\s*"')
OPENING, CLOSING, NEXT = re.compile(r"\s*\("), re.compile(r"\s*\)"), re.compile(r"\s*([,)])")
PLAIN = re.compile(r"[^,)]*")


class Conditions:
    """Reads the conditions of one request; `read` may be called for each of its parameters."""

    def __init__(self, fields: dict[str, Field]) -> None:
        self._fields = fields
        self._left = MOST_CONDITIONS

    def read(self, parameter: str, text: str) -> Filter:
        """Raises BadFilter."""
        return _Text(self, parameter, text).filter()

    def field(self, parameter: str, name: str) -> Field:
        """Raises BadFilter, also when there have been too many."""
        self._left -= 1
        if self._left < 0:
            raise BadFilter(parameter, "too_many", f"There are more than {MOST_CONDITIONS} conditions: ask for less.")
        try:
            return self._fields[name]
        except KeyError as error:
            detail = f"{name!r} is no field: {nearest(name, self._fields)}"
            raise BadFilter(parameter, "unknown_field", detail) from error


class _Text:
    """The value of one parameter, and how far it has been read."""

    def __init__(self, of: Conditions, parameter: str, text: str) -> None:
        self._of = of
        self._parameter = parameter
        self._text = text
        self._at = 0
        self._depth = 0

    def filter(self) -> Filter:
        negation, _, joint = self._parameter.rpartition(".")
        if joint in ("and", "or") and negation in ("", "not"):
            if not self._take(OPENING):
                raise self._wrong("syntax", f"write {self._parameter}=(price.gt.5,name.is.null)")
            found: Filter = self._group(cast("Joint", joint), negated=bool(negation))
            self._skip_to_end()
            return found
        return self._condition(self._of.field(self._parameter, self._parameter), inside=False)

    def _group(self, joint: Joint, *, negated: bool) -> Group:
        """From behind the opening parenthesis to behind the closing one."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._wrong("too_deep", f"parentheses may be {DEEPEST} deep")
        parts: list[Filter] = []
        while True:
            if nested := self._take(GROUP):
                parts.append(self._group(cast("Joint", nested[2]), negated=bool(nested[1])))
            elif name := self._take(NAME):
                parts.append(self._condition(self._of.field(self._parameter, name[1]), inside=True))
            else:
                raise self._wrong("syntax", f"a condition like price.gt.5 should follow at {self._here()}")
            if not self._goes_on():
                self._depth -= 1
                return Group(joint, tuple(parts), negated)

    def _condition(self, field: Field, *, inside: bool) -> Filter:
        begin = self._at
        negated = bool(self._need(NEGATION)[1])
        found = self._take(OPERATOR)
        if found is None:
            rest = self._text[begin : begin + values.LONGEST_SHOWN]
            separator = "." if inside else "="
            raise self._wrong("no_operator", f"an operator is missing; write {field.name}{separator}eq.{rest}")
        operator = found[1]
        if operator not in OPERATORS:
            raise self._wrong("unknown_operator", f"{operator!r} is no operator: {nearest(operator, OPERATORS)}")
        self._refuse_unfit(field, operator)
        if operator == "in":
            return Membership(field.name, self._list(field, inside=inside), negated)
        value = self._value() if inside else self._rest()
        if operator == "is":
            return Presence(field.name, self._state(field, value.strip()), negated)
        if operator in PATTERNS and _ends_within_an_escape(value):
            raise self._wrong("bad_pattern", r"the pattern ends with a single \; a backslash itself is \\")
        self._check(field, value)
        return Comparison(field.name, cast("Comparing", operator), value, negated)

    def _list(self, field: Field, *, inside: bool) -> tuple[str, ...]:
        if not self._take(OPENING):
            raise self._wrong("syntax", f'a list is in parentheses: in.(1,2) or in.("a,b",c), at {self._here()}')
        found: list[str] = []
        if not self._take(CLOSING):
            found.append(self._value())
            while self._goes_on():
                found.append(self._value())
        if not inside:
            self._skip_to_end()
        for value in found:
            self._check(field, value)
        return tuple(found)

    def _value(self) -> str:
        if quoted := self._take(QUOTED):
            return re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)
        if QUOTE.match(self._text, self._at):
            raise self._wrong("syntax", rf'a value in quotes ends with " and has \" for each within, at {self._here()}')
        return self._need(PLAIN)[0]

    def _rest(self) -> str:
        found, self._at = self._text[self._at :], len(self._text)
        return found

    def _state(self, field: Field, text: str) -> State:
        known = STATES if field.type == "boolean" else STATES[:2]
        if text not in known:
            raise self._wrong("bad_state", f"{field.name} can be asked for is.{', is.'.join(known)}, not is.{text}")
        return cast("State", text)

    def _check(self, field: Field, text: str) -> None:
        try:
            values.read(field.type, text)
        except values.NotOfType as error:
            raise self._wrong("type", f"{field.name} {error}") from error

    def _refuse_unfit(self, field: Field, operator: str) -> None:
        kind, ordered = field_types.find(field.type).name, field_types.find(field.type).ordered
        unfit = (operator in PATTERNS and kind != "string") or (operator in ("gt", "gte", "lt", "lte") and not ordered)
        if unfit:
            fit = [o for o in OPERATORS if o not in PATTERNS] if ordered else ["eq", "neq", "in", "is"]
            raise self._wrong(
                "unfit_operator", f"{field.name} is {kind}, and {operator} is not for that: use {', '.join(fit)}"
            )

    def _goes_on(self) -> bool:
        """Whether a comma comes next, and not the closing parenthesis."""
        found = self._take(NEXT)
        if found is None:
            raise self._wrong("syntax", f"a comma or a closing parenthesis is missing at {self._here()}")
        return found[1] == ","

    def _skip_to_end(self) -> None:
        if self._text[self._at :].strip():
            raise self._wrong("syntax", f"nothing may follow the closing parenthesis, but there is {self._here()}")

    def _here(self) -> str:
        rest = self._text[self._at : self._at + values.LONGEST_SHOWN]
        return repr(rest) if rest else "the end"

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._at)
        if found:
            self._at = found.end()
        return found

    def _need(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """Of a pattern that matches anything."""
        found = self._take(pattern)
        assert found is not None  # noqa: S101
        return found

    def _wrong(self, code: str, what: str) -> BadFilter:
        said = what if what.startswith(f"{self._parameter} ") else f"{self._parameter}: {what}"
        return BadFilter(self._parameter, code, said if said.endswith((".", "?")) else f"{said}.")


def _ends_within_an_escape(pattern: str) -> bool:
    return (len(pattern) - len(pattern.rstrip("\\"))) % 2 == 1
