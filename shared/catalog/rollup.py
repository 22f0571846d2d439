"""A rollup: an aggregate of a dataset by group keys, kept current by adding what each chunk changed."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, cast

import msgspec

from shared.catalog import kinds

NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}\Z")
GROUP = re.compile(r"^(?:(year|quarter|month|date|domain|word)\(([a-z][a-z0-9_]*)\)|([a-z][a-z0-9_]*))\Z")
MEASURE = re.compile(r"^(?:count|(sum|min|max|avg|count_distinct)\(([a-z][a-z0-9_]*)\))\Z")
ROWS = "_rows"
"""Rows in a group; a group without rows is removed."""
LONGEST_WORD = 200
"""Characters of a word that is grouped by, as in `shared.search.tokenizer`."""
LONGEST_KEY = 600
"""Characters that are grouped by, and of a value that is kept with them: an entry of a B-tree has no room for more."""

Part = Literal["", "year", "quarter", "month", "date", "domain", "word"]
Function = Literal["count", "sum", "min", "max", "avg", "count_distinct"]
OF_TIMES = ("year", "quarter", "month", "date")
BY_VALUE = ("min", "max", "count_distinct")
"""What a row takes away from them can only be told by knowing every value and in how many rows it stands."""
ORDERED = (*kinds.NUMERIC, "date", "datetime", "time", "string")


class Group(msgspec.Struct, frozen=True):
    """A column that rows are grouped by: `part` of `field`, or the field itself."""

    field: str
    part: Part

    @property
    def column(self) -> str:
        """`year(hired_at)` is kept as `hired_at_year`."""
        return f"{self.field}_{self.part}" if self.part else self.field


class Measure(msgspec.Struct, frozen=True):
    """What is kept per group in a column: the count of rows, or something of the values of `field`."""

    column: str
    function: Function
    field: str = ""


class Rollup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whatever it keeps can be added to and taken away from, so chunks may arrive in any order."""

    name: str
    group_by: tuple[str, ...]
    measures: dict[str, str]

    def table(self, dataset: str) -> str:
        """Its table in the schema `rollups`."""
        return f"{dataset}__{self.name}"

    def values_table(self, dataset: str, field: str) -> str:
        """Where the values of a field are kept, with the number of rows that have them."""
        return f"{self.table(dataset)}__{field}"

    def tables(self, dataset: str) -> list[str]:
        """All of its tables."""
        return [self.table(dataset), *(self.values_table(dataset, field) for field in self.valued)]

    @property
    def groups(self) -> tuple[Group, ...]:
        """The parsed `group_by`; call after `mistakes` found none."""
        matches = [GROUP.match(text) for text in self.group_by]
        return tuple(Group(m[2] or m[3], cast("Part", m[1] or "")) for m in matches if m)

    @property
    def measured(self) -> tuple[Measure, ...]:
        """The parsed `measures`; call after `mistakes` found none."""
        matches = [(column, MEASURE.match(text)) for column, text in self.measures.items()]
        return tuple(
            Measure(column, cast("Function", match[1] or "count"), match[2] or "") for column, match in matches if match
        )

    @property
    def valued(self) -> tuple[str, ...]:
        """The fields whose values are kept."""
        return tuple(dict.fromkeys(measure.field for measure in self.measured if measure.function in BY_VALUE))

    def mistakes(self, types: Mapping[str, str], lengths: Mapping[str, int | None]) -> list[str]:
        """What is wrong with the rollup of a dataset whose fields have these types, and its texts these lengths."""
        return [f"rollup {self.name!r}{detail}" for detail in self._mistakes(types, lengths)]

    def _mistakes(self, types: Mapping[str, str], lengths: Mapping[str, int | None]) -> Iterator[str]:
        if not NAME.match(self.name) or "__" in self.name:
            yield ": the name must be of a-z, 0-9 and _, without a double _"
        if not self.group_by or not self.measures:
            yield " needs group_by and measures"
        for text in self.group_by:
            if not GROUP.match(text):
                yield f": group_by {text!r} is neither a field nor year, quarter, month, date, domain or word of one"
        for text in self.measures.values():
            if not MEASURE.match(text):
                yield f": measure {text!r} is not known; use count or sum, min, max, avg or count_distinct of a field"
        yield from self._mistakes_of_fields(types)
        yield from self._mistakes_of_columns()
        yield from self._mistakes_of_keys(types, lengths)

    def _mistakes_of_fields(self, types: Mapping[str, str]) -> Iterator[str]:
        for group in self.groups:
            if wrong := _wrong_group(group, types.get(group.field)):
                yield f": {wrong}"
        for measure in self.measured:
            if measure.field and (wrong := _wrong_measure(measure.function, types.get(measure.field, ""))):
                yield f": {measure.function}({measure.field}) needs {wrong}"

    def _mistakes_of_columns(self) -> Iterator[str]:
        columns = [group.column for group in self.groups] + list(self.measures)
        for column in columns:
            if not NAME.match(column):
                yield f": {column!r} is no name for a column"
        for column in sorted({column for column in columns if columns.count(column) > 1}):
            yield f": column {column!r} occurs twice"
        if sum(group.part == "word" for group in self.groups) > 1:
            yield " can be grouped by the words of one field only"

    def _mistakes_of_keys(self, types: Mapping[str, str], lengths: Mapping[str, int | None]) -> Iterator[str]:
        """What keeps groups, or groups with a value, from being the entries of a B-tree."""
        grouped = [
            LONGEST_WORD if g.part == "word" else lengths.get(g.field) for g in self.groups if _is_text(g, types)
        ]
        named = [group.field for group in self.groups if _is_text(group, types)]
        for value in ("", *(field for field in self.valued if types.get(field) == "string")):
            texts = [*grouped, lengths.get(value)] if value else grouped
            if _too_long(texts):
                told = ", ".join(repr(name) for name in dict.fromkeys([*named, value]) if name)
                yield f": {told} must have a max_length, of {LONGEST_KEY} together at most, to be kept in order"
                return


def _is_text(group: Group, types: Mapping[str, str]) -> bool:
    return types.get(group.field) == "string" and group.part in ("", "domain", "word")


def _too_long(lengths: Sequence[int | None]) -> bool:
    return None in lengths or sum(length or 0 for length in lengths) > LONGEST_KEY


def _wrong_group(group: Group, kind: str | None) -> str:
    if kind is None:
        return f"group_by names {group.field!r}, which is not a field"
    if group.part in OF_TIMES and kind not in ("date", "datetime"):
        return f"{group.part}({group.field}) needs a date or datetime field"
    if group.part in ("domain", "word") and kind != "string":
        return f"{group.part}({group.field}) needs a string field"
    return f"{group.field!r} is an object and can't be grouped by" if kind == "object" else ""


def _wrong_measure(function: Function, kind: str) -> str:
    """What the function needs and a field of this type is not; "" if it is."""
    base = kinds.base(kind)
    if function in ("sum", "avg"):
        return "" if base in kinds.NUMERIC else "a number field"
    if function in ("min", "max"):
        return "" if base in ORDERED else "a field of numbers, texts or times"
    return "" if base and base != "object" else "a field that is no object"
