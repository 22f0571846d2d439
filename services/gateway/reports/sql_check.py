"""What Postgres says of a report's SQL: whether it can be run, what it reads, and whether rows alone decide the answer.

Postgres itself parses the statement, as the body of a function that is never called and never committed, and keeps the
tree of what it has understood: every table and every function by number, whatever they are called in the text. A parser
of ours would have to know its grammar and how it resolves names; a plan lacks the functions.
"""

import re
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from shared.catalog import kinds
from shared.catalog.dataset import Dataset
from shared.catalog.report import Report, Statement
from shared.db import Connection
from shared.db.faults import INVALID_STATEMENT, MISSING_OBJECT, error_position, error_sentence

FUNCTION = re.compile(r":(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)")
TABLE = re.compile(r":relid (\d+)")
READ_AS_TEXT = re.compile(r":resulttype (\d+) :resultcollid")
"""Of a conversion by way of text. All names in the tree that look like this are written with escapes."""
TIMES = {1082, 1083, 1114, 1184, 1266}
"""Postgres' types of dates and times, whose texts may be `today`."""
TIME_VALUE = re.compile(rf":consttype ({'|'.join(map(str, sorted(TIMES)))}) ")
MOMENT = re.compile(r"'\s*(?:now|today|tomorrow|yesterday)\b[^']*'", re.IGNORECASE)
FORBIDDEN = {
    "{SQLVALUEFUNCTION": "CURRENT_DATE, CURRENT_USER and the like",
    "{NEXTVALUEEXPR": "numbers of a sequence",
    ":tablesample {": "TABLESAMPLE",
    "{ROWMARKCLAUSE": "FOR UPDATE and the like",
}
STEADY = re.compile(
    r"(date|timestamp|timestamptz)_(eq|ne|lt|le|gt|ge|cmp)_(date|timestamp|timestamptz)|timestamptz_(pl|mi)_interval"
    r"|interval_pl_timestamptz|in_range|(any)?text(any)?cat|array_to_(json|string)|concat(_ws)?|convert_(from|to)"
    r"|date(_part|_trunc)?|extract|format|generate_series|jsonb?_(agg|build|object|populate|to|path)_?\w*"
    r"|make_timestamptz|overlaps|row_to_json|time|timestamp|timestamptz|timetz|timezone|to_(char|date|json|jsonb|number)"
    r"|to_timestamp|quote_(literal|nullable)"
)
"""Functions that Postgres calls stable since a setting decides of them that is the same for all of our connections."""
NUMBERS = ("int2", "int4", "int8", "float4", "float8", "numeric")
SHOWN = (
    *(*NUMBERS, "bool", "text", "varchar", "bpchar", "name", "char"),
    *("date", "time", "timestamp", "timestamptz", "uuid", "json", "jsonb"),
)
"""Types of columns that JSON and CSV can show."""


class BadStatement(Exception):
    """Something is wrong with the declared SQL, at this character of it if that is known."""

    def __init__(self, detail: str, place: int | None = None) -> None:
        super().__init__(detail)
        self.place = place


class Absent(BadStatement):
    """A table or a column that it names is not there, or not yet."""


class Read(msgspec.Struct, frozen=True, order=True):
    """A table that a report reads: a rollup of a dataset, or the rows themselves."""

    dataset: str
    rollup: str | None


class Examined(msgspec.Struct, frozen=True):
    """What a good statement reads, and the columns that it gives; some of them of numbers."""

    reads: tuple[Read, ...]
    columns: tuple[str, ...]
    numbers: tuple[str, ...]


async def examine(db: Connection, report: Report, datasets: Mapping[str, Dataset]) -> Examined:
    """In a transaction of the caller's that must be rolled back. Raises BadStatement, Absent."""
    statement = report.build_statement()
    try:
        prepared = await db.prepare(statement.text)
        tree = await _parse(db, report, statement)
    except INVALID_STATEMENT as error:
        at = error_position(error)
        place = statement.to_declared_offset(at) if at is not None else None
        kind = Absent if isinstance(error, MISSING_OBJECT) else BadStatement
        raise kind(error_sentence(error), place) from error
    reads = await _check_tables(db, report, tree, datasets)
    for mark, what in FORBIDDEN.items():
        if mark in tree:
            raise BadStatement(f"{what}: a report must depend on rows and parameters alone")
    await _check_functions(db, report.sql, tree)
    if (moment := MOMENT.search(report.sql)) and TIME_VALUE.search(tree):
        raise BadStatement(
            f"{moment[0]} is another moment each time: a report must depend on rows and parameters alone",
            moment.start(),
        )
    if TIMES & {int(number) for number in READ_AS_TEXT.findall(tree)}:
        raise BadStatement(
            "a text is read as a date or a time, which 'today' is as well:"
            " give the parameter the type date, or use to_date(text, 'YYYY-MM-DD')"
        )
    numbers = tuple(one.name for one in prepared.get_attributes() if one.type.name in NUMBERS)
    return Examined(reads, _columns(prepared), numbers)


async def _parse(db: Connection, report: Report, statement: Statement) -> str:
    name = f"report_{secrets.token_hex(8)}"
    arguments = ", ".join(kinds.sql(parameter.type) for parameter in report.parameters)
    # By the extended protocol, as all that is fetched: it takes no second statement, whatever the text says.
    await db.fetch(
        f"CREATE FUNCTION {name}({arguments}) RETURNS SETOF record LANGUAGE sql BEGIN ATOMIC {statement.text}; END"
    )
    tree: str = await db.fetchval("SELECT prosqlbody::text FROM pg_proc WHERE proname = $1", name)
    return tree


def _columns(prepared: Any) -> tuple[str, ...]:
    attributes = prepared.get_attributes()
    names = [attribute.name for attribute in attributes]
    for name in names:
        if names.count(name) > 1:
            raise BadStatement(f"more than one column is called {name!r}: name them with AS")
    for attribute in attributes:
        kind = attribute.type.name.removesuffix("[]").removeprefix("_")
        if kind not in SHOWN:
            raise BadStatement(f"column {attribute.name!r} is of type {attribute.type.name}: cast it, as to text")
    return tuple(names)


async def _check_functions(db: Connection, sql: str, tree: str) -> None:
    numbers = sorted({int(number) for number in FUNCTION.findall(tree)})
    rows = await db.fetch(
        """
        SELECT p.proname AS name, p.provolatile = 's'::"char" AND n.nspname = 'pg_catalog' AS stable
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE p.oid = ANY($1::oid[]) AND p.provolatile <> 'i'::"char" ORDER BY 1
        """,
        numbers,
    )
    for row in rows:
        if not (row["stable"] and STEADY.fullmatch(row["name"])):
            found = re.search(rf"\b{re.escape(row['name'])}\b", sql, re.IGNORECASE)
            raise BadStatement(
                f"{row['name']}() may give something else each time: a report must depend on rows and parameters alone",
                found.start() if found else None,
            )


async def _check_tables(db: Connection, report: Report, tree: str, datasets: Mapping[str, Dataset]) -> tuple[Read, ...]:
    known = {("data", name): Read(name, None) for name in report.datasets}
    for name in report.datasets:
        known |= {("rollups", one.table(name)): Read(name, one.name) for one in datasets[name].rollups}
    rows = await db.fetch(
        """
        SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = ANY($1::oid[]) ORDER BY 1, 2
        """,
        sorted({int(number) for number in TABLE.findall(tree)}),
    )
    for row in rows:
        if (row["schema"], row["name"]) not in known:
            found = re.search(rf"\b{re.escape(row['name'])}\b", report.sql)
            raise BadStatement(
                f"{row['schema']}.{row['name']} is not of the declared datasets: a report reads data.DATASET and"
                " rollups.DATASET__ROLLUP of those that `datasets` names",
                found.start() if found else None,
            )
    reads = sorted(
        {known[row["schema"], row["name"]] for row in rows}, key=lambda read: (read.dataset, read.rollup or "")
    )
    for name in report.datasets:
        if name not in {read.dataset for read in reads}:
            raise BadStatement(f"datasets names {name!r}, which the SQL does not read")
    return tuple(reads)
