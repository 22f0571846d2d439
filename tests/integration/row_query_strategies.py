"""Hypothesis strategies for row queries over all field types, and the rows that they should find.

Nothing here comes from `shared.search`: conditions are written and evaluated independently.
"""

import datetime as dt
import json
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import strategies as st

from shared.catalog.dataset import Dataset, Field

Row = dict[str, Any]
LONG = 600
MOST_ROWS = 12
FIELDS = (
    Field(name="i", type="integer"),
    Field(name="n", type="number"),
    Field(name="d", type="decimal(8,2)"),
    Field(name="s", type="string"),
    Field(name="t", type="string", max_length=20, required=True),
    Field(name="b", type="boolean"),
    Field(name="day", type="date"),
    Field(name="at", type="datetime"),
    Field(name="clock", type="time"),
    Field(name="u", type="uuid"),
    Field(name="o", type="object"),
)
ID = Field(name="id", type="integer", required=True)
KEYED = Dataset(name="keyed", title="Keyed", fields=(ID, *FIELDS), primary_key=("id",))
PAIRED = Dataset(name="paired", title="Paired", fields=(ID, *FIELDS), primary_key=("t", "id"))
KEYLESS = Dataset(name="keyless", title="Keyless", fields=(ID, *FIELDS))
TYPES = {field.name: field.type for field in (ID, *FIELDS)}

HOSTILE = "aAbBéÉ%_*\\\"',().;-漢🙂 \n"
FEW = "aA%_*\\"
"""Few enough that patterns meet texts."""
texts = st.one_of(
    st.text(FEW, max_size=2),
    st.text(HOSTILE, max_size=4),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3),
    st.sampled_from(
        [
            "null",
            "eq.1",
            "not.is.null",
            "'; DROP TABLE data.keyed; --",
            "a" * (LONG - 1) + "b",
            "a" * LONG + "b",
            "a" * LONG,
        ]
    ),
)
patterns = st.sampled_from([r"\_", r"\%*", r"\\", "a*", "*_"]) | st.text(FEW, max_size=4) | st.text(HOSTILE, max_size=4)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "integer": st.integers(-2, 2) | st.sampled_from([-(1 << 63), (1 << 63) - 1]),
    "number": st.sampled_from([0.0, -0.0, 0.1, -1.5, 1e300, 5e-324]) | st.floats(allow_nan=False, allow_infinity=False),
    "decimal(8,2)": st.decimals(-3, 3, places=2),
    "string": texts,
    "boolean": st.booleans(),
    "date": st.sampled_from([dt.date(1, 1, 1), dt.date(2020, 2, 29), dt.date(9999, 12, 31)]),
    "datetime": st.sampled_from([dt.datetime(2020, 1, day, tzinfo=dt.UTC) for day in (1, 2)])
    | st.datetimes(timezones=st.just(dt.UTC)),
    "time": st.sampled_from([dt.time(0), dt.time(2, 48, 42, 500000)]) | st.times(),
    "uuid": st.sampled_from([UUID(int=0), UUID(int=255), UUID(int=(1 << 128) - 1)]),
    "object": st.sampled_from([{}, [], {"a": "b"}, [1, "a,b"], {"'": '"\\'}]),
}
rows = st.lists(
    st.fixed_dictionaries(
        {
            field.name: (texts.map(lambda text: text[:20]) if field.name == "t" else st.none() | VALUES[field.type])
            for field in FIELDS
        }
    ),
    max_size=MOST_ROWS,
).map(lambda found: [{"id": number, **row} for number, row in enumerate(found, 1)])


BLANK: Row = {field.name: "" if field.required else None for field in FIELDS}


class Condition(msgspec.Struct, frozen=True):
    """A condition as a query parameter and as a part of a group. `holds` returns None where SQL has NULL."""

    field: str
    parameter: str
    part: str
    holds: Callable[[Row], bool | None]


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "like": lambda a, b: bool(re.fullmatch(as_regex(b), a, re.DOTALL)),
    "ilike": lambda a, b: bool(re.fullmatch(as_regex(lower(b)), lower(a), re.DOTALL)),
}
STATES: dict[str, Callable[[Any], bool]] = {
    "null": lambda a: a is None,
    "not_null": lambda a: a is not None,
    "true": lambda a: a is True,
    "false": lambda a: a is False,
    "unknown": lambda a: a is None,
}


def as_regex(pattern: str) -> str:
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    return "".join({"*": ".*", "%": ".*", "_": "."}.get(part, re.escape(part[-1])) for part in parts)


def lower(text: str) -> str:
    return "".join(char.lower() if len(char.lower()) == 1 else char for char in text)


def text_of(value: Any) -> str:
    match value:
        case bool() | dict() | list():
            return json.dumps(value)
        case dt.datetime():
            return value.isoformat().replace("+00:00", "Z")
        case dt.date() | dt.time():
            return value.isoformat()
    return repr(value) if isinstance(value, float) else str(value)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def part_of_group(draw: st.DrawFn, text: str) -> str:
    return quoted(text) if re.search(r'[,)]|^\s*"', text) or draw(st.booleans()) else text


def operators(kind: str) -> list[str]:
    found = ["eq", "neq", "in", "is"]
    if kind not in ("boolean", "object"):
        found += ["gt", "gte", "lt", "lte"]
    return [*found, *["like", "ilike"] * 3] if kind == "string" else found


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    """On one field."""
    field = draw(st.sampled_from([*sorted(TYPES), "s", "s", "t", "t"]))
    kind = TYPES[field]
    operator = draw(st.sampled_from(operators(kind)))
    negated = draw(st.booleans())
    prefix = f"not.{operator}." if negated else f"{operator}."
    if operator == "is":
        state = draw(st.sampled_from([*STATES] if kind == "boolean" else ["null", "not_null"]))
        return Condition(
            field, prefix + state, f"{field}.{prefix}{state}", lambda row: STATES[state](row[field]) is not negated
        )
    if operator == "in":
        among = draw(st.lists(VALUES[kind], max_size=3))
        listed = ",".join(part_of_group(draw, text_of(value)) for value in among)
        if listed == "" and among:
            listed = '""'
        written = f"{prefix}({listed})"

        def is_among(row: Row) -> bool | None:
            if row[field] is None:
                return negated if not among else None
            return any(row[field] == value for value in among) is not negated

        return Condition(field, written, f"{field}.{written}", is_among)
    value: Any = draw(patterns) if operator in ("like", "ilike") else draw(VALUES[kind])
    if operator in ("like", "ilike") and (len(value) - len(value.rstrip("\\"))) % 2:
        value += "*"

    def compares(row: Row) -> bool | None:
        return None if row[field] is None else COMPARE[operator](row[field], value) is not negated

    text = text_of(value)
    return Condition(field, prefix + text, f"{field}.{prefix}{part_of_group(draw, text)}", compares)


@st.composite
def groups(draw: st.DrawFn, below: st.SearchStrategy[Condition]) -> Condition:
    """Of conditions or groups, joined by and / or, with the three-valued logic of SQL."""
    parts = draw(st.lists(below, min_size=1, max_size=3))
    joint = draw(st.sampled_from(["and", "or"]))
    negated = draw(st.booleans())
    name = f"not.{joint}" if negated else joint
    written = f"({','.join(part.part for part in parts)})"
    decisive = joint == "or"

    def holds(row: Row) -> bool | None:
        found = [part.holds(row) for part in parts]
        together = decisive if decisive in found else None if None in found else not decisive
        return together if together is None else together is not negated

    return Condition(name, written, name + written, holds)


condition_lists = st.lists(st.recursive(conditions(), groups, max_leaves=6), max_size=3)


@st.composite
def orders(draw: st.DrawFn) -> list[tuple[str, str, str]]:
    """Fields with their direction and where their missing values stand, if given."""
    names = draw(st.lists(st.sampled_from([name for name in sorted(TYPES) if name != "o"]), max_size=3, unique=True))
    return [
        (name, draw(st.sampled_from(["", "asc", "desc"])), draw(st.sampled_from(["", "nullsfirst", "nullslast"])))
        for name in names
    ]


def arranged(found: list[Row], order: list[tuple[str, str, str]], key: tuple[str, ...]) -> list[Row]:
    """Ties are in the order of the key, in the direction of the last term."""
    last = order[-1][1] if order else "asc"
    rest = [(name, last, "") for name in key if name not in {term[0] for term in order}]
    for name, direction, nulls in reversed([*order, *rest]):
        descending = direction == "desc"
        first = nulls == "nullsfirst" if nulls else descending
        here = [row for row in found if row[name] is not None]
        here.sort(key=lambda row: _place(row[name], name), reverse=descending)
        missing = [row for row in found if row[name] is None]
        found = missing + here if first else here + missing
    return found


def _place(value: Any, name: str) -> Any:
    return value[:LONG] if name == "s" else value
