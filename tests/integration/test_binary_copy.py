"""Binary COPY: values are read back from Postgres as they were written."""

import io
import random
import string
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import polars as pl
import pytest

from services.ingestor.write.binary_copy import to_copy
from shared.catalog import field_types
from shared.catalog.dataset import Field
from shared.db import connect

TYPES: dict[str, tuple[Any, list[Any]]] = {
    "integer": (pl.Int64, [-(2**63), 2**63 - 1, 0]),
    "number": (pl.Float64, [0.1, -1e300, 5e-324, 0.0]),
    "decimal(15,2)": (pl.Decimal(15, 2), [Decimal("-0.05"), Decimal("1234567890123.40"), Decimal("0.00")]),
    "decimal(38,10)": (pl.Decimal(38, 10), [Decimal("-1.0000000001"), Decimal("9" * 28 + ".5"), Decimal("1E+3")]),
    "decimal(5,0)": (pl.Decimal(5, 0), [Decimal(10000), Decimal(-99999)]),
    "string": (pl.String, ["", "\\.", "\\N", " a ", "\r\n", '"', "é\u2028\ufeff", "x" * 70_000]),
    "boolean": (pl.Boolean, [True, False]),
    "date": (pl.Date, [date(1, 1, 1), date(9999, 12, 31), date(1999, 12, 31), date(2000, 1, 1)]),
    "datetime": (
        pl.Datetime("us", "UTC"),
        [
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
            datetime(2000, 1, 1, tzinfo=UTC),
        ],
    ),
    "time": (pl.Time, [time(0, 0), time(23, 59, 59, 999999)]),
    "uuid": (pl.String, ["123e4567-e89b-12d3-a456-426614174000"]),
    "object": (pl.String, ['{"a": [1, "x"]}', "[]", '{"n": 1.10}']),
}


def chance(kind: str, seed: random.Random) -> Any:  # noqa: PLR0911 - a line for each type
    """Any value of the type."""
    match field_types.find(kind).name:
        case "integer":
            return seed.randint(-(2**63), 2**63 - 1)
        case "number":
            return seed.uniform(-1e9, 1e9)
        case "decimal":
            digits, scale = field_types.find(kind).digits, field_types.find(kind).scale or 0
            return Decimal(seed.randint(-(10**digits) + 1, 10**digits - 1)).scaleb(-scale)
        case "string":
            return "".join(seed.choices(string.printable + "äß€😀", k=seed.randint(0, 40)))
        case "boolean":
            return seed.random() < 0.5
        case "date":
            return date(1, 1, 1) + timedelta(days=seed.randint(0, 3_652_058))
        case "datetime":
            return datetime(1, 1, 1, tzinfo=UTC) + timedelta(microseconds=seed.randint(0, 315_537_897_599_999_999))
        case "time":
            return (datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=seed.randint(0, 86_399_999_999))).time()
        case "uuid":
            return str(UUID(int=seed.getrandbits(128)))
    return msgspec.json.encode({"k": seed.randint(0, 9), "t": seed.choice('ab\\"é')}).decode()


def expected(kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind == "uuid":
        return UUID(value)
    return msgspec.json.decode(value) if kind == "object" else value


@pytest.mark.parametrize("kind", TYPES)
async def test_any_value_arrives_as_it_is(kind: str, database: dict[str, str]) -> None:
    dtype, values = TYPES[kind]
    seed = random.Random(kind)
    values = [*values, None, *(chance(kind, seed) for _ in range(2000)), None]
    rows = pl.DataFrame(
        {"row": range(len(values)), "value": values}, schema={"row": pl.Int64, "value": dtype}, strict=False
    )
    assert rows["value"].null_count() == 2
    pool = await connect(database["admin"], name="test", connections=1)
    async with pool, pool.acquire() as db:
        await db.execute(f"CREATE TABLE copied (row bigint, value {field_types.find(kind).sql})")
        data = b"".join(to_copy(rows, (Field(name="value", type=kind),)))
        await db.copy_to_table("copied", source=io.BytesIO(data), columns=["row", "value"], format="binary")
        there = [row["value"] for row in await db.fetch("SELECT value FROM copied ORDER BY row")]
    assert there == [expected(kind, value) for value in values]


async def test_no_rows_are_no_rows(database: dict[str, str]) -> None:
    db = await asyncpg.connect(database["admin"])
    try:
        await db.execute("CREATE TABLE copied (value text)")
        rows = pl.DataFrame(schema={"value": pl.String})
        data = b"".join(to_copy(rows, (Field(name="value", type="string"),)))
        await db.copy_to_table("copied", source=io.BytesIO(data), format="binary")
        assert await db.fetchval("SELECT count(*) FROM copied") == 0
    finally:
        await db.close()
