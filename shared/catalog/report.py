"""A report: SQL over rollups and datasets, with typed parameters."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from shared.catalog import field_types
from shared.catalog.chart import Chart
from shared.catalog.shape import Mistake

NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}\Z")
RESERVED = ("format", "min_version")
"""Parameters that every report has."""
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
"""Texts, quoted names and comments of SQL, in which nothing is meant, and what is looked for outside of them."""
Value = bool | int | float | str
Kind = Literal["integer", "number", "string", "date", "boolean"]


class BadValue(ValueError):
    """The text is no value that the parameter takes; `code` says in which way."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Parameter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value the caller gives in the query string; one with a `default` may be left out."""

    name: str
    type: Kind
    default: Value | None = None
    minimum: int | float | str | None = None
    maximum: int | float | str | None = None
    enum: tuple[Value, ...] = ()
    description: str = ""

    def read(self, text: str) -> Any:
        """The value that Postgres is given. Raises BadValue."""
        value = self._typed(text)
        if self.enum and value not in [self._typed(_text(one)) for one in self.enum]:
            known = ", ".join(map(_text, self.enum))
            raise BadValue("enum", f"{self.name} must be one of {known}, not {text!r}.")
        least, most = (None if one is None else self._typed(_text(one)) for one in (self.minimum, self.maximum))
        if (least is not None and value < least) or (most is not None and value > most):
            ends = [f"from {_text(self.minimum)}"] if self.minimum is not None else []
            ends += [f"to {_text(self.maximum)}"] if self.maximum is not None else []
            raise BadValue("range", f"{self.name} must be {' '.join(ends)}, not {text}.")
        return value

    def standing(self) -> Any:
        """The value if none is given."""
        return self.read(_text(self.default))

    def told(self) -> str:
        """`year=2021`, `year (integer)`: how people are told of it."""
        return f"{self.name} ({self.type}{'' if self.default is None else f', {_text(self.default)}'})"

    def mistakes(self) -> Iterator[tuple[str, str]]:
        """The key that is wrong, and a sentence about it."""
        about = f"parameter {self.name!r}"
        if not NAME.match(self.name):
            yield "name", f"{about} is no name: use a-z, 0-9 and _, beginning with a letter"
        if self.name in RESERVED:
            yield "name", f"{about} has a name that every report uses for something else: {', '.join(RESERVED)}"
        wrong = False
        for key in ("minimum", "maximum", "enum"):
            given = getattr(self, key)
            for one in given if isinstance(given, tuple) else () if given is None else (given,):
                if not field_types.find(self.type).holds(_text(one)):
                    wrong = True
                    yield key, f"{about}: {key} {_text(one)!r} is no {self.type}"
            if given is not None and key != "enum" and not field_types.find(self.type).bounded:
                wrong = True
                yield key, f"{about} is a {self.type}, which has no {key}"
        if self.default is not None and not wrong:
            try:
                self.standing()
            except BadValue as error:
                yield "default", f"{about}: the default is none of its values: {error}"

    def _typed(self, text: str) -> Any:
        field_type = field_types.find(self.type)
        plain = text if self.type == "string" else text.strip(" ")
        if not field_type.holds(plain):
            raise BadValue("type", f"{self.name} must be {field_type.expected}, not {text!r}.")
        return field_type.parse(plain)


class Statement(NamedTuple):
    """SQL as Postgres gets it. `places`: from which of its characters on it follows which ones of the declaration."""

    text: str
    places: tuple[tuple[int, int], ...]

    def place(self, offset: int) -> int | None:
        """Where in the declared SQL the character stands; None for what is ours."""
        before = [(ours, theirs) for ours, theirs in self.places if ours <= offset]
        return before[-1][1] + offset - before[-1][0] if before else None


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A declaration, as in `catalog/reports/<name>.toml`. `:name` in the SQL is the parameter of that name.

    `timeout` in seconds.
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

    def statement(self) -> Statement:
        """With Postgres' numbered parameters, in declared order; one row more than the limit, which tells of others."""
        numbers = {one.name: f"${n}::{field_types.find(one.type).sql}" for n, one in enumerate(self.parameters, 1)}
        text = "SELECT * FROM (\n"
        places = [(len(text), 0)]
        end = 0
        for match in _parameters(self.sql):
            text += self.sql[end : match.start()] + numbers[match["parameter"]]
            end = match.end()
            places.append((len(text), end))
        text += self.sql[end:]
        return Statement(f"{text}\n) report LIMIT {self.row_limit + 1}", tuple(places))

    def mistakes(self) -> list[Mistake]:
        """All that can be seen without a database; of the SQL, the pointer tells the character: `#/sql/12`."""
        found = [] if NAME.match(self.name) else [Mistake("#", f"the file's name {self.name!r} is no name of a report")]
        names = [parameter.name for parameter in self.parameters]
        for number, parameter in enumerate(self.parameters):
            pointer = f"#/parameters/{number}"
            found += [Mistake(f"{pointer}/{key}", detail) for key, detail in parameter.mistakes()]
            if parameter.name in names[:number]:
                found.append(Mistake(pointer, f"parameter {parameter.name!r} is declared twice"))
        if not self.datasets:
            found.append(Mistake("#/datasets", "datasets must name those that the SQL reads"))
        found += [
            Mistake("#/datasets", f"datasets names {name!r} more than once")
            for number, name in enumerate(self.datasets)
            if name in self.datasets[:number]
        ]
        used = {match["parameter"]: match.start() for match in reversed(list(_parameters(self.sql)))}
        found += [
            Mistake(f"#/sql/{place}", f"the SQL uses :{name}, which is not a parameter")
            for name, place in used.items()
            if name not in names
        ]
        found += [
            Mistake(f"#/parameters/{number}", f"parameter {name!r} is not used by the SQL")
            for number, name in enumerate(names)
            if name not in used
        ]
        for match in TOKEN.finditer(self.sql):
            if match["semicolon"]:
                found.append(Mistake(f"#/sql/{match.start()}", "the SQL must be one statement without a semicolon"))
        return found


def _parameters(sql: str) -> list[re.Match[str]]:
    return [match for match in TOKEN.finditer(sql) if match["parameter"]]


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
