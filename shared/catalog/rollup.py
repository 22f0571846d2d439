"""A rollup: an aggregate of a dataset by group keys, kept current by adding what each chunk changed."""

import re
from typing import Literal, cast

import msgspec

from shared.catalog import kinds

NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}\Z")
GROUP = re.compile(r"^(?:(year|quarter|month|date)\(([a-z][a-z0-9_]*)\)|([a-z][a-z0-9_]*))\Z")
MEASURE = re.compile(r"^(?:count|sum\(([a-z][a-z0-9_]*)\))\Z")
ROWS = "_rows"
"""Rows in a group; a group without rows is removed."""


Part = Literal["", "year", "quarter", "month", "date"]


class Group(msgspec.Struct, frozen=True):
    """A column that rows are grouped by: `part` of `field`, or the field itself."""

    field: str
    part: Part

    @property
    def column(self) -> str:
        """`year(hired_at)` is kept as `hired_at_year`."""
        return f"{self.field}_{self.part}" if self.part else self.field


class Measure(msgspec.Struct, frozen=True):
    """A number kept per group: the count of rows, or the sum of `field`."""

    column: str
    field: str | None


class Rollup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The measures are additive, so chunks may arrive in any order."""

    name: str
    group_by: tuple[str, ...]
    measures: dict[str, str]

    def table(self, dataset: str) -> str:
        """Its table in the schema `rollups`."""
        return f"{dataset}__{self.name}"

    @property
    def groups(self) -> tuple[Group, ...]:
        """The parsed `group_by`; call after `mistakes` found none."""
        matches = [GROUP.match(text) for text in self.group_by]
        return tuple(Group(m[2] or m[3], cast("Part", m[1] or "")) for m in matches if m)

    @property
    def sums(self) -> tuple[Measure, ...]:
        """The parsed `measures`; call after `mistakes` found none."""
        matches = [(column, MEASURE.match(text)) for column, text in self.measures.items()]
        return tuple(Measure(column, match[1]) for column, match in matches if match)

    def mistakes(self, types: dict[str, str]) -> list[str]:
        """What is wrong with the rollup of a dataset whose fields have these types, a sentence each."""
        place = f"rollup {self.name!r}"
        found = [] if NAME.match(self.name) else [f"{place}: the name must be of a-z, 0-9 and _"]
        if not self.group_by or not self.measures:
            found.append(f"{place} needs group_by and measures")
        found += [
            f"{place}: group_by {text!r} is neither a field nor year, quarter, month or date of one"
            for text in self.group_by
            if not GROUP.match(text)
        ]
        found += [
            f"{place}: measure {text!r} is not known; use count or sum(field)"
            for text in self.measures.values()
            if not MEASURE.match(text)
        ]
        for group in self.groups:
            if group.field not in types:
                found.append(f"{place}: group_by names {group.field!r}, which is not a field")
            elif group.part and types[group.field] not in ("date", "datetime"):
                found.append(f"{place}: {group.part}({group.field}) needs a date or datetime field")
            elif types[group.field] == "object":
                found.append(f"{place}: {group.field!r} is an object and can't be grouped by")
        for measure in self.sums:
            if measure.field is not None and kinds.base(types.get(measure.field, "")) not in kinds.NUMERIC:
                found.append(f"{place}: sum({measure.field}) needs a number field")
        columns = [group.column for group in self.groups] + list(self.measures)
        found += [f"{place}: {column!r} is no name for a column" for column in columns if not NAME.match(column)]
        found += [f"{place}: column {c!r} occurs twice" for c in sorted({c for c in columns if columns.count(c) > 1})]
        return found
