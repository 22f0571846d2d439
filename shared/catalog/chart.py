"""Chart of a report: which columns are its axis and its series."""

from collections.abc import Sequence
from typing import Literal

import msgspec


class Chart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The table `[chart]` of a report. Missing keys are derived from the report's columns.

    Each value of the column `by` becomes a series.
    """

    kind: Literal["bar", "line"] | None = None
    x: str | None = None
    by: str | None = None
    series: tuple[str, ...] = ()
    stacked: bool = False

    def find_mistakes(self, columns: Sequence[str], numbers: Sequence[str]) -> list[str]:
        """Returns a sentence for each mistake, given the report's columns and which of them are numeric."""
        names = [name for name in (self.x, self.by, *self.series) if name is not None]
        known = ", ".join(columns)
        mistakes = [f"chart: {name!r} is not a column; columns: {known}" for name in names if name not in columns]
        not_numeric = [name for name in self.series if name in columns and name not in numbers]
        mistakes += [f"chart: {name!r} in `series` is not numeric" for name in not_numeric]
        mistakes += [f"chart: {name!r} is named twice" for name in sorted(set(names)) if names.count(name) > 1]
        if self.by is not None and len(self.series) != 1:
            mistakes.append("chart: `by` needs exactly one column in `series`")
        return mistakes
