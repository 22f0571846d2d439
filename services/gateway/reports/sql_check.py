"""Checks the SQL of a report: whether it is valid, which tables it reads, and whether it is deterministic.

Postgres parses the statement as the body of a function that is never called and never committed. The stored parse tree
has every table and function by oid, whatever the text calls them. A parser of our own would have to know the grammar of
Postgres and how it resolves names; a query plan lacks the functions.
"""

import re
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from shared.catalog import field_types
from shared.catalog.dataset import Dataset
from shared.catalog.report import Report, Statement
from shared.db import Connection
from shared.db.faults import INVALID_STATEMENT, MISSING_OBJECT, error_position, error_sentence
from shared.reads.analytics import ROLLUPS_SCHEMA
from shared.reads.ingestor.tables import DATA_SCHEMA

FUNCTION_OID = re.compile(r":(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)")
TABLE_OID = re.compile(r":relid (\d+)")
TEXT_CONVERSION = re.compile(r":resulttype (\d+) :resultcollid")
"""A conversion through text. Names from the SQL can't match: the tree escapes them."""
TIME_TYPES = {1082, 1083, 1114, 1184, 1266}
"""Oids of the date and time types, which accept `today` as text."""
TIME_CONSTANT = re.compile(rf":consttype ({'|'.join(map(str, sorted(TIME_TYPES)))}) ")
RELATIVE_TIME = re.compile(r"'\s*(?:now|today|tomorrow|yesterday)\b[^']*'", re.IGNORECASE)
FORBIDDEN = {
    "{SQLVALUEFUNCTION": "CURRENT_DATE, CURRENT_USER and the like",
    "{NEXTVALUEEXPR": "nextval",
    ":tablesample {": "TABLESAMPLE",
    "{ROWMARKCLAUSE": "FOR UPDATE and the like",
}
DETERMINISTIC = re.compile(
    r"(date|timestamp|timestamptz)_(eq|ne|lt|le|gt|ge|cmp)_(date|timestamp|timestamptz)|timestamptz_(pl|mi)_interval"
    r"|interval_pl_timestamptz|in_range|(any)?text(any)?cat|array_to_(json|string)|concat(_ws)?|convert_(from|to)"
    r"|date(_part|_trunc)?|extract|format|generate_series|jsonb?_(agg|build|object|populate|to|path)_?\w*"
    r"|make_timestamptz|overlaps|row_to_json|time|timestamp|timestamptz|timetz|timezone|to_(char|date|json|jsonb|number)"
    r"|to_timestamp|quote_(literal|nullable)"
)
"""Functions that Postgres calls stable only because they depend on settings, which all our connections share."""
NUMBER_TYPES = ("int2", "int4", "int8", "float4", "float8", "numeric")
COLUMN_TYPES = (
    *(*NUMBER_TYPES, "bool", "text", "varchar", "bpchar", "name", "char"),
    *("date", "time", "timestamp", "timestamptz", "uuid", "json", "jsonb"),
)
"""Column types that JSON and CSV can represent."""


class BadStatement(Exception):
    """The declared SQL is invalid; `place` is the offset of the error in it, if known."""

    def __init__(self, detail: str, place: int | None = None) -> None:
        super().__init__(detail)
        self.place = place


class MissingRelation(BadStatement):
    """The SQL names a table or a column that does not exist, or not yet."""


class TableRef(msgspec.Struct, frozen=True, order=True):
    """A table that a report reads: a rollup of a dataset, or its rows if `rollup` is None."""

    dataset: str
    rollup: str | None


class CheckedStatement(msgspec.Struct, frozen=True):
    """The tables that a valid statement reads, and the names of its columns; `numbers` are the numeric ones."""

    reads: tuple[TableRef, ...]
    columns: tuple[str, ...]
    numbers: tuple[str, ...]


async def check(db: Connection, report: Report, datasets: Mapping[str, Dataset]) -> CheckedStatement:
    """Checks the SQL. The caller must roll back the transaction. Raises BadStatement or MissingRelation."""
    statement = report.build_statement()
    try:
        prepared = await db.prepare(statement.text)
        tree = await _parse(db, report, statement)
    except INVALID_STATEMENT as error:
        at = error_position(error)
        place = statement.to_declared_offset(at) if at is not None else None
        kind = MissingRelation if isinstance(error, MISSING_OBJECT) else BadStatement
        raise kind(error_sentence(error), place) from error
    reads = await _check_tables(db, report, tree, datasets)
    for node, name in FORBIDDEN.items():
        if node in tree:
            raise BadStatement(f"{name}: a report must depend on rows and parameters alone")
    await _check_functions(db, report.sql, tree)
    if (match := RELATIVE_TIME.search(report.sql)) and TIME_CONSTANT.search(tree):
        raise BadStatement(
            f"{match[0]} changes with time: a report must depend on rows and parameters alone",
            match.start(),
        )
    if TIME_TYPES & {int(number) for number in TEXT_CONVERSION.findall(tree)}:
        raise BadStatement(
            "text is converted to a date or time, which allows 'today':"
            " declare the parameter as date, or use to_date(text, 'YYYY-MM-DD')"
        )
    numbers = tuple(column.name for column in prepared.get_attributes() if column.type.name in NUMBER_TYPES)
    return CheckedStatement(reads, _columns(prepared), numbers)


async def _parse(db: Connection, report: Report, statement: Statement) -> str:
    name = f"report_{secrets.token_hex(8)}"
    arguments = ", ".join(field_types.find(parameter.type).sql for parameter in report.parameters)
    # fetch uses the extended protocol, which refuses a second statement.
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
            raise BadStatement(f"more than one column is called {name!r}: rename them with AS")
    for attribute in attributes:
        kind = attribute.type.name.removesuffix("[]").removeprefix("_")
        if kind not in COLUMN_TYPES:
            raise BadStatement(
                f"column {attribute.name!r} is of type {attribute.type.name}: cast it, for example to text"
            )
    return tuple(names)


async def _check_functions(db: Connection, sql: str, tree: str) -> None:
    numbers = sorted({int(number) for number in FUNCTION_OID.findall(tree)})
    rows = await db.fetch(
        """
        SELECT p.proname AS name, p.provolatile = 's'::"char" AND n.nspname = 'pg_catalog' AS stable
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE p.oid = ANY($1::oid[]) AND p.provolatile <> 'i'::"char" ORDER BY 1
        """,
        numbers,
    )
    for row in rows:
        if not (row["stable"] and DETERMINISTIC.fullmatch(row["name"])):
            found = re.search(rf"\b{re.escape(row['name'])}\b", sql, re.IGNORECASE)
            raise BadStatement(
                f"{row['name']}() may give another value each time: a report must depend on rows and parameters alone",
                found.start() if found else None,
            )


async def _check_tables(
    db: Connection, report: Report, tree: str, datasets: Mapping[str, Dataset]
) -> tuple[TableRef, ...]:
    allowed = {(DATA_SCHEMA, name): TableRef(name, None) for name in report.datasets}
    for name in report.datasets:
        allowed |= {
            (ROLLUPS_SCHEMA, rollup.table(name)): TableRef(name, rollup.name) for rollup in datasets[name].rollups
        }
    rows = await db.fetch(
        """
        SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = ANY($1::oid[]) ORDER BY 1, 2
        """,
        sorted({int(number) for number in TABLE_OID.findall(tree)}),
    )
    for row in rows:
        if (row["schema"], row["name"]) not in allowed:
            found = re.search(rf"\b{re.escape(row['name'])}\b", report.sql)
            raise BadStatement(
                f"{row['schema']}.{row['name']} is not in the declared datasets: a report reads data.DATASET and"
                " rollups.DATASET__ROLLUP of the datasets listed in `datasets`",
                found.start() if found else None,
            )
    reads = sorted(
        {allowed[row["schema"], row["name"]] for row in rows}, key=lambda table: (table.dataset, table.rollup or "")
    )
    for name in report.datasets:
        if name not in {table.dataset for table in reads}:
            raise BadStatement(f"`datasets` lists {name!r}, which the SQL does not read")
    return tuple(reads)
