"""Rollup oracle: datasets with every measure and group, and their expected rollups, by SQL and by Python."""

import datetime as dt
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable
from decimal import Decimal, localcontext
from typing import Any

import asyncpg

from shared.catalog.dataset import Dataset
from shared.catalog.files import to_dataset
from shared.catalog.rollup import Group, Measure, Rollup
from shared.db import Pool
from shared.search import tokenizer

# Some are called as columns of ours are.
FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "integer", "required": True},
    {"name": "at", "type": "datetime", "required": True},
    {"name": "day", "type": "date"},
    {"name": "shop", "type": "string", "max_length": 20},
    {"name": "email", "type": "string", "max_length": 60},
    {"name": "note", "type": "string"},
    {"name": "quantity", "type": "integer"},
    {"name": "price", "type": "decimal(10,2)"},
    {"name": "weight", "type": "number"},
    {"name": "empty", "type": "boolean"},
    {"name": "value", "type": "uuid"},
    {"name": "rows", "type": "time"},
]
COLUMNS = tuple(field["name"] for field in FIELDS)
ROLLUPS: list[dict[str, Any]] = [
    {
        "name": "sold",
        "group_by": ["year(at)", "quarter(at)", "shop"],
        "measures": {
            "sales": "count",
            "cheapest": "min(price)",
            "dearest": "max(price)",
            "mean_price": "avg(price)",
            "prices": "count_distinct(price)",
            "quantity": "sum(quantity)",
            "weight": "sum(weight)",
            "mean_weight": "avg(weight)",
            "lightest": "min(weight)",
            "weights": "count_distinct(weight)",
            "codes": "count_distinct(value)",
            "kinds": "count_distinct(empty)",
            "last_day": "max(day)",
            "first_hour": "min(rows)",
            "last_at": "max(at)",
        },
    },
    {
        "name": "mail",
        "group_by": ["domain(email)"],
        "measures": {
            "people": "count_distinct(email)",
            "last": "max(email)",
            "sales": "count",
            "mean": "avg(quantity)",
        },
    },
    {
        "name": "words",
        "group_by": ["word(note)", "month(at)"],
        "measures": {
            "wrong": "count",
            "missing": "count_distinct(shop)",
            "cheapest": "min(price)",
            "sold": "sum(quantity)",
        },
    },
    {"name": "days", "group_by": ["date(at)", "day", "empty", "value", "rows"], "measures": {"price": "sum(price)"}},
    {
        "name": "ends",
        "group_by": ["price", "weight", "quantity"],
        "measures": {"old": "min(id)", "new": "max(id)", "more": "count_distinct(id)"},
    },
]
DECLARATIONS: dict[str, dict[str, Any]] = {
    "sales": {"title": "Sales", "primary_key": ["id"], "fields": FIELDS, "rollups": ROLLUPS},
    "yearly": {
        "title": "Sales by year",
        "primary_key": ["id", "at"],
        "partition_by": {"field": "at", "every": "year"},
        "fields": FIELDS,
        "rollups": ROLLUPS,
    },
    "added": {"title": "Sales that are only added", "fields": FIELDS, "rollups": ROLLUPS},
}
SALES = {name: to_dataset(name, declaration) for name, declaration in DECLARATIONS.items()}
PARTS: dict[str, Callable[[Any], Any]] = {
    "year": lambda value: value.year,
    "quarter": lambda value: (value.month - 1) // 3 + 1,
    "month": lambda value: dt.date(value.year, value.month, 1),
    "date": lambda value: dt.date(value.year, value.month, value.day),
    "domain": lambda value: value.rpartition("@")[2].lower() or None if "@" in value else None,
}
Table = dict[tuple[Any, ...], dict[str, Any]]


def sale(number: int, **cells: str) -> str:
    """A line of a file."""
    row = {"id": str(number), "at": "2020-05-01T12:00:00Z", "shop": "a", **cells}
    return ",".join(row.get(name, "") for name in COLUMNS) + "\n"


async def holds(pool: Pool, dataset: Dataset) -> None:
    """All rollups, each against both."""
    rows = await pool.fetch(f'SELECT * FROM data."{dataset.name}"')
    for rollup in dataset.rollups:
        found = rounded(await kept(pool, dataset, rollup))
        assert found == rounded(by_hand(rows, rollup)), rollup.name
        assert found == rounded(await by_sql(pool, dataset, rollup)), rollup.name


async def kept(pool: Pool, dataset: Dataset, rollup: Rollup) -> Table:
    """As the tables say, which must have a row for each group."""
    rows = await pool.fetch(f'SELECT * FROM rollups."{rollup.table(dataset.name)}"')
    found = {_key(rollup, row): {name: row[name] for name in ("_rows", *rollup.measures)} for row in rows}
    assert len(found) == len(rows)
    return found


async def by_sql(pool: Pool, dataset: Dataset, rollup: Rollup) -> Table:
    """As a query over the rows says that knows nothing of how rollups are kept. For words, Python cuts them."""
    keys = [_in_sql(group) for group in rollup.groups]
    measures = [_measured(measure) for measure in rollup.parsed_measures]
    rows = f'data."{dataset.name}"'
    word = next((group.field for group in rollup.groups if group.part == "word"), None)
    async with pool.acquire() as db, db.transaction():
        if word:
            texts = await db.fetch(f'SELECT DISTINCT "{word}" AS text FROM {rows} WHERE "{word}" IS NOT NULL')
            pairs = [(row["text"], one) for row in texts for one in set(tokenizer.tokenize(row["text"]))]
            await db.execute("CREATE TEMP TABLE said (text text, word text) ON COMMIT DROP")
            await db.copy_records_to_table("said", records=pairs)
            rows += f' JOIN said ON text = "{word}"'
        found = await db.fetch(
            f"SELECT {', '.join([*keys, *measures])}, count(*) FROM {rows}"
            f" GROUP BY {', '.join(str(number + 1) for number in range(len(keys)))}"
        )
    names = [*rollup.measures, "_rows"]
    return {tuple(row)[: len(keys)]: dict(zip(names, tuple(row)[len(keys) :], strict=True)) for row in found}


def by_hand(rows: Iterable[asyncpg.Record], rollup: Rollup) -> Table:
    """As Python says."""
    groups: dict[tuple[Any, ...], list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        for key in itertools.product(*(_of(group, row[group.field]) for group in rollup.groups)):
            groups[key].append(row)
    return {
        key: {"_rows": len(members)} | {one.column: _measure(one, members) for one in rollup.parsed_measures}
        for key, members in groups.items()
    }


def rounded(table: Table) -> Table:
    """Averages to the digits that Postgres promises."""
    return {
        key: {name: _round(value) if name.startswith("mean") else value for name, value in row.items()}
        for key, row in table.items()
    }


def _round(value: Any) -> Any:
    return None if value is None else f"{float(value):.12e}"


def _key(rollup: Rollup, row: asyncpg.Record) -> tuple[Any, ...]:
    return tuple(row[group.column] for group in rollup.groups)


def _in_sql(group: Group) -> str:
    match group.part:
        case "year" | "quarter":
            return f"date_part('{group.part}', \"{group.field}\")::int"
        case "month":
            return f"to_char(\"{group.field}\", 'YYYY-MM-01')::date"
        case "date":
            return f"to_char(\"{group.field}\", 'YYYY-MM-DD')::date"
        case "domain":
            return f"lower(nullif(substring(\"{group.field}\" FROM '.*@(.*)'), ''))"
        case "word":
            return "word"
    return f'"{group.field}"'


def _measured(measure: Measure) -> str:
    field = f'"{measure.field}"' if measure.field != "weight" else "weight::text::numeric"
    match measure.function:
        case "count":
            return "count(*)"
        case "sum":
            return f"coalesce(sum({field}), 0)"
        case "count_distinct":
            return f"count(DISTINCT {field})"
        case "min" | "max":
            return f'{measure.function}("{measure.field}")'
    return f"avg({field})"


def _of(group: Group, value: Any) -> list[Any]:
    if group.part == "word":
        return sorted(set(tokenizer.tokenize(value or "")))
    if value is None:
        return [None]
    return [PARTS[group.part](value) if group.part else value]


def _measure(measure: Measure, rows: list[asyncpg.Record]) -> Any:
    values = [row[measure.field] for row in rows if row[measure.field] is not None] if measure.field else []
    match measure.function:
        case "count":
            return len(rows)
        case "sum" | "avg":
            exact = [Decimal(repr(value)) if isinstance(value, float) else value for value in values]
            with localcontext(prec=1000):
                total = sum(exact)
                return total if measure.function == "sum" else Decimal(total) / len(exact) if exact else None
        case "count_distinct":
            return len(set(values))
        case "min":
            return min(values, default=None)
    return max(values, default=None)
