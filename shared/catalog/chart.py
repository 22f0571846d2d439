"""How a report is drawn: which columns are the axis and the series of its chart."""

from collections.abc import Sequence
from typing import Literal

import msgspec


class Chart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The table `[chart]` of a report; whatever it leaves open follows from the columns.

    `by` is a column of which every value is a series of its own.
    """

    kind: Literal["bar", "line"] | None = None
    x: str | None = None
    by: str | None = None
    series: tuple[str, ...] = ()
    stacked: bool = False

    def mistakes(self, columns: Sequence[str], numbers: Sequence[str]) -> list[str]:
        """What is wrong with it for a report of these columns, some of `numbers`, a sentence each."""
        named = [name for name in (self.x, self.by, *self.series) if name is not None]
        there = ", ".join(columns)
        found = [f"chart: {name!r} is not a column; there are {there}" for name in named if name not in columns]
        wrong = [name for name in self.series if name in columns and name not in numbers]
        found += [f"chart: {name!r} in `series` is no column of numbers" for name in wrong]
        found += [f"chart: {name!r} is named twice" for name in sorted(set(named)) if named.count(name) > 1]
        if self.by is not None and len(self.series) != 1:
            found.append("chart: `by` needs a single column in `series`")
        return found
