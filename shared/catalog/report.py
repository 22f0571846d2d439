"""Declaration of a report: SQL over rollups and datasets, with typed parameters."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from shared.catalog import field_types
from shared.catalog.chart import Chart
from shared.catalog.shape import Mistake

NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}\Z")
RESERVED = ("format", "min_version")
"""Query parameters of every report."""
MOST_ROWS = 100_000
MOST_SECONDS = 60
TOKEN = re.compile(
    r"""
      [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/
    | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$
    | (?<![:\w]):(?P<parameter>[a-z][a-z0-9_]*) | (?P<semicolon>;)
    """,
    re.VERBOSE | re.DOTALL,
)
"""String literals, quoted names and comments of SQL, and the parameters and semicolons outside of them."""
Value = bool | int | float | str
Kind = Literal["integer", "number", "string", "date", "boolean"]


class BadValue(ValueError):
    """The text is not a valid value of the parameter. `code` is `type`, `enum` or `range`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Parameter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A query parameter of a report. One with a `default` is optional."""

    name: str
    type: Kind
    default: Value | None = None
    minimum: int | float | str | None = None
    maximum: int | float | str | None = None
    enum: tuple[Value, ...] = ()
    description: str = ""

    def parse(self, text: str) -> Any:
        """Converts and checks a value. Raises BadValue."""
        value = self._convert(text)
        if self.enum and value not in [self._convert(_to_text(choice)) for choice in self.enum]:
            choices = ", ".join(map(_to_text, self.enum))
            raise BadValue("enum", f"{self.name} must be one of {choices}, not {text!r}.")
        bounds = (self.minimum, self.maximum)
        least, most = (None if bound is None else self._convert(_to_text(bound)) for bound in bounds)
        if (least is not None and value < least) or (most is not None and value > most):
            limits = [f"from {_to_text(self.minimum)}"] if self.minimum is not None else []
            limits += [f"to {_to_text(self.maximum)}"] if self.maximum is not None else []
            raise BadValue("range", f"{self.name} must be {' '.join(limits)}, not {text}.")
        return value

    def parse_default(self) -> Any:
        """Returns the default value. Raises BadValue."""
        return self.parse(_to_text(self.default))

    def describe(self) -> str:
        """Returns the parameter as hints list it, like `year (integer)` or `top (integer, 10)`."""
        return f"{self.name} ({self.type}{'' if self.default is None else f', {_to_text(self.default)}'})"

    def find_mistakes(self) -> Iterator[tuple[str, str]]:
        """Yields the key of each mistake and a sentence about it."""
        label = f"parameter {self.name!r}"
        if not NAME.match(self.name):
            yield "name", f"{label} is not a name: use a-z, 0-9 and _, beginning with a letter"
        if self.name in RESERVED:
            yield "name", f"{label} has a reserved name: every report has {' and '.join(RESERVED)}"
        mistakes = list(self._find_bound_mistakes(label))
        yield from mistakes
        if self.default is not None and not mistakes:
            try:
                self.parse_default()
            except BadValue as error:
                yield "default", f"{label}: invalid default: {error}"

    def _find_bound_mistakes(self, label: str) -> Iterator[tuple[str, str]]:
        field_type = field_types.find(self.type)
        for key in ("minimum", "maximum", "enum"):
            declared = getattr(self, key)
            for value in declared if isinstance(declared, tuple) else () if declared is None else (declared,):
                if not field_type.holds(_to_text(value)):
                    yield key, f"{label}: {key} {_to_text(value)!r} is no {self.type}"
            if declared is not None and key != "enum" and not field_type.bounded:
                yield key, f"{label} is a {self.type}, which has no {key}"

    def _convert(self, text: str) -> Any:
        field_type = field_types.find(self.type)
        plain = text if self.type == "string" else text.strip(" ")
        if not field_type.holds(plain):
            raise BadValue("type", f"{self.name} must be {field_type.expected}, not {text!r}.")
        return field_type.parse(plain)


class Statement(NamedTuple):
    """SQL with numbered parameters.

    `offsets` pairs offsets in `text` with offsets in the declared SQL, from which on both are the same.
    """

    text: str
    offsets: tuple[tuple[int, int], ...]

    def to_declared_offset(self, offset: int) -> int | None:
        """Converts an offset in `text` to one in the declared SQL; None if the text there is generated."""
        before = [(own, declared) for own, declared in self.offsets if own <= offset]
        return before[-1][1] + offset - before[-1][0] if before else None


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A declaration, as in `catalog/reports/<name>.toml`. `:name` in the SQL is the parameter of that name.

    `timeout` is in seconds.
    """

    name: str
    title: str
    description: str = ""
    datasets: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()
    row_limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_ROWS)] = 10_000
    timeout: Annotated[float, msgspec.Meta(gt=0, le=MOST_SECONDS)] = 5.0
    chart: Chart | None = None
    sql: str

    def build_statement(self) -> Statement:
        """Returns the SQL for Postgres, with a limit of one row more than `row_limit`, which shows truncation."""
        parameters = enumerate(self.parameters, 1)
        numbers = {
            parameter.name: f"${number}::{field_types.find(parameter.type).sql}" for number, parameter in parameters
        }
        text = "SELECT * FROM (\n"
        offsets = [(len(text), 0)]
        end = 0
        for match in _find_parameters(self.sql):
            text += self.sql[end : match.start()] + numbers[match["parameter"]]
            end = match.end()
            offsets.append((len(text), end))
        text += self.sql[end:]
        return Statement(f"{text}\n) report LIMIT {self.row_limit + 1}", tuple(offsets))

    def find_mistakes(self) -> list[Mistake]:
        """Returns all mistakes that can be found without a database. `#/sql/12` is an offset in the SQL."""
        mistakes = []
        if not NAME.match(self.name):
            detail = f"the file name {self.name!r} is not a name: use a-z, 0-9 and _, beginning with a letter"
            mistakes.append(Mistake("#", detail))
        names = [parameter.name for parameter in self.parameters]
        for number, parameter in enumerate(self.parameters):
            pointer = f"#/parameters/{number}"
            mistakes += [Mistake(f"{pointer}/{key}", detail) for key, detail in parameter.find_mistakes()]
            if parameter.name in names[:number]:
                mistakes.append(Mistake(pointer, f"parameter {parameter.name!r} is declared twice"))
        if not self.datasets:
            mistakes.append(Mistake("#/datasets", "datasets is empty: name those that the SQL reads"))
        mistakes += [
            Mistake("#/datasets", f"datasets names {name!r} more than once")
            for number, name in enumerate(self.datasets)
            if name in self.datasets[:number]
        ]
        used = {match["parameter"]: match.start() for match in reversed(list(_find_parameters(self.sql)))}
        mistakes += [
            Mistake(f"#/sql/{offset}", f"the SQL uses :{name}, which is not a parameter")
            for name, offset in used.items()
            if name not in names
        ]
        mistakes += [
            Mistake(f"#/parameters/{number}", f"parameter {name!r} is not used by the SQL")
            for number, name in enumerate(names)
            if name not in used
        ]
        for match in TOKEN.finditer(self.sql):
            if match["semicolon"]:
                mistakes.append(Mistake(f"#/sql/{match.start()}", "the SQL must be one statement without a semicolon"))
        return mistakes


def _find_parameters(sql: str) -> list[re.Match[str]]:
    return [match for match in TOKEN.finditer(sql) if match["parameter"]]


def _to_text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
