"""Declaration of a rollup: aggregates of a dataset by group, updated incrementally by each chunk."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, cast

import msgspec

from shared.catalog import field_types

NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}\Z")
GROUP = re.compile(r"^(?:(year|quarter|month|date|domain|word)\(([a-z][a-z0-9_]*)\)|([a-z][a-z0-9_]*))\Z")
MEASURE = re.compile(r"^(?:count|(sum|min|max|avg|count_distinct)\(([a-z][a-z0-9_]*)\))\Z")
ROWS = "_rows"
"""Column with the number of rows of a group; a group without rows is deleted."""
LONGEST_WORD = 200
"""Characters of a word that rows are grouped by, as in `shared.search.tokenizer`."""
LONGEST_KEY = 600
"""Characters of a group, with one of its values: Postgres limits an index entry to 2,700 bytes."""

Part = Literal["", "year", "quarter", "month", "date", "domain", "word"]
Function = Literal["count", "sum", "min", "max", "avg", "count_distinct"]
DATE_PARTS = ("year", "quarter", "month", "date")
BY_VALUE = ("min", "max", "count_distinct")
"""Functions that need each value and its number of rows, because a deleted row may change the result."""


class Group(msgspec.Struct, frozen=True):
    """A column that rows are grouped by: a part of a field, or the field itself."""

    field: str
    part: Part

    @property
    def column(self) -> str:
        """The column's name: `hired_at_year` for `year(hired_at)`."""
        return f"{self.field}_{self.part}" if self.part else self.field


class Measure(msgspec.Struct, frozen=True):
    """A column with an aggregate for each group: the number of rows, or a function of the values of `field`."""

    column: str
    function: Function
    field: str = ""


class Rollup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A declaration. Chunks may arrive in any order, because its tables can be added to and subtracted from."""

    name: str
    group_by: tuple[str, ...]
    measures: dict[str, str]

    def table(self, dataset: str) -> str:
        """Returns the name of its table in the schema `rollups`."""
        return f"{dataset}__{self.name}"

    def values_table(self, dataset: str, field: str) -> str:
        """Returns the name of the table with the values of a field and their numbers of rows."""
        return f"{self.table(dataset)}__{field}"

    def tables(self, dataset: str) -> list[str]:
        """Returns the names of all its tables."""
        return [self.table(dataset), *(self.values_table(dataset, field) for field in self.value_fields)]

    @property
    def groups(self) -> tuple[Group, ...]:
        """The parsed `group_by`, of a rollup without mistakes."""
        matches = [GROUP.match(text) for text in self.group_by]
        return tuple(Group(m[2] or m[3], cast("Part", m[1] or "")) for m in matches if m)

    @property
    def parsed_measures(self) -> tuple[Measure, ...]:
        """The parsed `measures`, of a rollup without mistakes."""
        matches = [(column, MEASURE.match(text)) for column, text in self.measures.items()]
        return tuple(
            Measure(column, cast("Function", match[1] or "count"), match[2] or "") for column, match in matches if match
        )

    @property
    def value_fields(self) -> tuple[str, ...]:
        """The fields whose values are stored."""
        return tuple(dict.fromkeys(measure.field for measure in self.parsed_measures if measure.function in BY_VALUE))

    def find_mistakes(self, types: Mapping[str, str], lengths: Mapping[str, int | None]) -> list[str]:
        """Returns a sentence for each mistake, given the types and maximum lengths of the dataset's fields."""
        return [f"rollup {self.name!r}{detail}" for detail in self._find_mistakes(types, lengths)]

    def _find_mistakes(self, types: Mapping[str, str], lengths: Mapping[str, int | None]) -> Iterator[str]:
        if not NAME.match(self.name) or "__" in self.name:
            yield ": the name must consist of a-z, 0-9 and _, without a double _"
        if not self.group_by or not self.measures:
            yield " needs group_by and measures"
        for text in self.group_by:
            if not GROUP.match(text):
                yield f": group_by {text!r} must be a field, or year, quarter, month, date, domain or word of a field"
        for text in self.measures.values():
            if not MEASURE.match(text):
                yield f": measure {text!r} is unknown; use count or sum, min, max, avg or count_distinct of a field"
        yield from self._check_fields(types)
        yield from self._check_columns()
        yield from self._check_lengths(types, lengths)

    def _check_fields(self, types: Mapping[str, str]) -> Iterator[str]:
        for group in self.groups:
            if reason := _check_group(group, types.get(group.field)):
                yield f": {reason}"
        for measure in self.parsed_measures:
            if measure.field and (required := _check_measure(measure.function, types.get(measure.field, ""))):
                yield f": {measure.function}({measure.field}) needs {required}"

    def _check_columns(self) -> Iterator[str]:
        columns = [group.column for group in self.groups] + list(self.measures)
        for column in columns:
            if not NAME.match(column):
                yield f": {column!r} is not a column name: use a-z, 0-9 and _"
        for column in sorted({column for column in columns if columns.count(column) > 1}):
            yield f": column {column!r} occurs twice"
        if sum(group.part == "word" for group in self.groups) > 1:
            yield " can be grouped only by the words of one field"

    def _check_lengths(self, types: Mapping[str, str], lengths: Mapping[str, int | None]) -> Iterator[str]:
        """Checks that a group, with one of its values, fits into an index entry."""
        grouped = [
            LONGEST_WORD if g.part == "word" else lengths.get(g.field) for g in self.groups if _is_text(g, types)
        ]
        named = [group.field for group in self.groups if _is_text(group, types)]
        for value in ("", *(field for field in self.value_fields if types.get(field) == "string")):
            texts = [*grouped, lengths.get(value)] if value else grouped
            if _too_long(texts):
                listed = ", ".join(repr(name) for name in dict.fromkeys([*named, value]) if name)
                yield f": {listed} must have a max_length, in total at most {LONGEST_KEY}, to be indexed"
                return


def _is_text(group: Group, types: Mapping[str, str]) -> bool:
    return types.get(group.field) == "string" and group.part in ("", "domain", "word")


def _too_long(lengths: Sequence[int | None]) -> bool:
    return None in lengths or sum(length or 0 for length in lengths) > LONGEST_KEY


def _check_group(group: Group, kind: str | None) -> str:
    if kind is None:
        return f"group_by names {group.field!r}, which is not a field"
    if group.part in DATE_PARTS and kind not in ("date", "datetime"):
        return f"{group.part}({group.field}) needs a date or datetime field"
    if group.part in ("domain", "word") and kind != "string":
        return f"{group.part}({group.field}) needs a string field"
    return f"{group.field!r} is an object, and rows can't be grouped by it" if kind == "object" else ""


def _check_measure(function: Function, kind: str) -> str:
    """Returns the kind of field that the function needs; "" if a field of this type is one."""
    field_type = field_types.find(kind) if kind else None
    if function in ("sum", "avg"):
        return "" if field_type and field_type.numeric else "a number field"
    if function in ("min", "max"):
        return "" if field_type and (field_type.bounded or kind == "string") else "a field of numbers, texts or times"
    return "" if field_type and kind != "object" else "a field that is not an object"
