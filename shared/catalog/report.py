"""A report: SQL over rollups and datasets, with typed parameters."""

import re
from typing import Literal

import msgspec

PARAMETER = re.compile(r"(?<![:\w]):([a-z][a-z0-9_]*)")


class Parameter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value the caller gives in the query string."""

    name: str
    type: Literal["integer", "string", "date"]
    minimum: int | None = None
    maximum: int | None = None
    description: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A declaration, as in `catalog/reports/<name>.toml`. `:name` in the SQL is the parameter of that name."""

    name: str
    title: str
    description: str = ""
    datasets: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()
    row_limit: int = 10_000
    sql: str

    def statement(self) -> str:
        """The SQL with Postgres' numbered parameters, in declared order."""
        number = {parameter.name: position for position, parameter in enumerate(self.parameters, 1)}
        return PARAMETER.sub(lambda match: f"${number[match[1]]}", self.sql)

    def mistakes(self) -> list[str]:
        """Everything wrong with the declaration that can be seen without a database."""
        declared = {parameter.name for parameter in self.parameters}
        used = set(PARAMETER.findall(self.sql))
        found = [f"the SQL uses :{name}, which is not a parameter" for name in sorted(used - declared)]
        found += [f"parameter {name!r} is not used by the SQL" for name in sorted(declared - used)]
        if ";" in self.sql:
            found.append("the SQL must be one statement without a semicolon")
        return found
