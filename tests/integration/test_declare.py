"""Declarations become tables and tables follow their declarations, compared with Postgres' own catalog."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.ingestor.tables.declare import declare_catalog, declare_dataset
from services.ingestor.write import partitions
from shared.bus.failures import PermanentFailure
from shared.catalog.files import BadDeclaration, to_dataset
from shared.contracts.commands import DeclareDataset
from shared.contracts.events import DatasetDeclared
from shared.contracts.message import Message
from shared.db import Connection, Pool
from tests.integration.ingestor_runner import connected
from tests.unit.test_evolution import SAFE, SIMPLE, UNSAFE

THINGS = """
title = "Things"
primary_key = ["id"]
fields = [{ name = "id", type = "integer", required = true }, { name = "name", type = "string" }]
"""
NAME = '{ name = "name", type = "string" }'


@pytest.fixture
async def pool(database: dict[str, str]) -> AsyncIterator[Pool]:
    async with connected(database["ingestor"], "ingestor") as opened:
        yield opened


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    (tmp_path / "datasets").mkdir()
    write(tmp_path, THINGS)
    return tmp_path


def write(catalog: Path, text: str) -> None:
    (catalog / "datasets" / "things.toml").write_text(text)


async def start(pool: Pool, catalog: Path) -> list[Message]:
    async with pool.acquire() as db, db.transaction():
        return await declare_catalog(db, catalog)


async def declare(
    pool: Pool, follows: int, declaration: dict[str, Any], name: str = "things"
) -> DatasetDeclared | None:
    command = DeclareDataset(dataset=name, follows=follows, digest="", declaration=declaration)
    async with pool.acquire() as db, db.transaction():
        return await declare_dataset(command, db)


async def described(pool: Pool, name: str) -> tuple[Any, Any]:
    """Columns and indexes of a table, whatever their order and names."""
    columns = await pool.fetch(
        """
        SELECT attname, format_type(atttypid, atttypmod), attnotnull, attidentity, pg_get_expr(adbin, adrelid)
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = to_regclass($1) AND attnum > 0 ORDER BY attname
        """,
        f"data.{name}",
    )
    indexes = await pool.fetch(
        "SELECT regexp_replace(indexdef, '.* USING', '') AS definition FROM pg_indexes"
        " WHERE schemaname = 'data' AND tablename = $1 ORDER BY 1",
        name,
    )
    return [tuple(column) for column in columns], [row["definition"] for row in indexes]


async def standing(db: Connection | Pool) -> tuple[int, dict[str, Any]] | None:
    row = await db.fetchrow("SELECT revision, declaration FROM datasets WHERE name = 'things'")
    return (row["revision"], row["declaration"]) if row else None


KINDS: dict[str, dict[str, Any]] = {
    "keyed": {},
    "plain": {"primary_key": []},
    "yearly": {"primary_key": [], "partition_by": {"field": "at", "every": "year"}, "search": None},
    "both": {"primary_key": ["id", "at"], "partition_by": {"field": "at", "every": "year"}, "search": None},
}


@pytest.mark.parametrize("changes", SAFE)
async def test_a_changed_table_is_like_one_made_afresh(pool: Pool, changes: dict[str, Any]) -> None:
    for name, kind in KINDS.items():
        new = {**SIMPLE, **changes, **kind}
        if "partition_by" in kind:
            new["fields"] = [{**field, "required": True} if field["name"] == "at" else field for field in new["fields"]]
        assert await declare(pool, 0, {**SIMPLE, **kind}, name)
        await make_partition(pool, name, kind)
        assert await declare(pool, 1, new, name) == DatasetDeclared(dataset=name, revision=2)
        assert await declare(pool, 0, new, f"{name}_afresh")
        await make_partition(pool, f"{name}_afresh", kind)
        assert await described(pool, name) == await described(pool, f"{name}_afresh"), name
        assert await described(pool, f"{name}__2021") == await described(pool, f"{name}_afresh__2021"), name


async def make_partition(pool: Pool, name: str, kind: dict[str, Any]) -> None:
    if "partition_by" in kind:
        async with pool.acquire() as db, db.transaction():
            await partitions.create_years(db, to_dataset(name, {**SIMPLE, **kind}), [2021])


@pytest.mark.parametrize(("changes", "_said"), UNSAFE)
async def test_a_refused_declaration_changes_nothing(pool: Pool, changes: dict[str, Any], _said: str) -> None:
    assert await declare(pool, 0, SIMPLE)
    before = await described(pool, "things"), await standing(pool)
    with pytest.raises(PermanentFailure):
        await declare(pool, 1, {**SIMPLE, **changes})
    assert (await described(pool, "things"), await standing(pool)) == before


async def test_rows_outlive_the_change_and_get_constants_for_what_they_lack(pool: Pool) -> None:
    await declare(pool, 0, SIMPLE)
    await pool.execute("INSERT INTO data.things VALUES (1, 'Ada', now(), 1)")
    fields = [
        *SIMPLE["fields"],
        {"name": "state", "type": "string", "required": True, "default": "old"},
        {"name": "seen_at", "type": "datetime", "default": "now"},
    ]
    assert await declare(pool, 1, {**SIMPLE, "fields": fields})
    row = await pool.fetchrow("SELECT name, state, seen_at FROM data.things")
    assert row is not None
    assert tuple(row) == ("Ada", "old", None)


async def test_only_what_follows_the_standing_revision_is_applied(pool: Pool) -> None:
    assert await declare(pool, 1, SIMPLE) is None
    assert await standing(pool) is None
    assert await declare(pool, 0, SIMPLE)
    assert await declare(pool, 0, {**SIMPLE, "title": "Late"}) is None
    assert await declare(pool, 2, {**SIMPLE, "title": "Early"}) is None
    assert (await standing(pool) or (0,))[0] == 1


async def test_what_can_not_be_used_is_refused_by_the_ingestor_too(pool: Pool) -> None:
    for declaration in ({"title": "Things", "fields": []}, {**SIMPLE, "primary_key": ["nothing"]}):
        with pytest.raises(PermanentFailure):
            await declare(pool, 0, declaration)
    assert await standing(pool) is None


async def test_a_declaration_waits_only_briefly_for_a_table_in_use(pool: Pool) -> None:
    await declare(pool, 0, SIMPLE)
    async with pool.acquire() as db, db.transaction():
        await db.execute("LOCK TABLE data.things IN ROW EXCLUSIVE MODE")
        with pytest.raises(Exception, match="lock timeout"):
            async with asyncio.timeout(20):
                await declare(pool, 1, {**SIMPLE, "fields": [*SIMPLE["fields"], {"name": "note", "type": "string"}]})
    assert (await standing(pool) or (0,))[0] == 1


async def test_a_file_is_applied_when_it_has_changed(pool: Pool, catalog: Path) -> None:
    assert await start(pool, catalog) == [DatasetDeclared(dataset="things", revision=1)]
    assert await start(pool, catalog) == []
    write(catalog, THINGS.replace(NAME, f'{NAME}, {{ name = "note", type = "string" }}'))
    assert await start(pool, catalog) == [DatasetDeclared(dataset="things", revision=2)]
    assert await start(pool, catalog) == []


async def test_what_was_declared_over_http_outlives_a_start(pool: Pool, catalog: Path) -> None:
    await start(pool, catalog)
    stood = await standing(pool)
    assert stood is not None
    _, declaration = stood
    declaration.pop("name")
    declaration["fields"].append({"name": "note", "type": "string"})
    await declare(pool, 1, declaration)
    assert await start(pool, catalog) == []
    revision, kept = await standing(pool) or (0, {})
    assert (revision, to_dataset("things", {k: v for k, v in kept.items() if k != "name"})) == (
        2,
        to_dataset("things", declaration),
    )


async def test_a_changed_file_that_would_lose_something_stops_the_start_with_the_reasons(
    pool: Pool, catalog: Path
) -> None:
    await start(pool, catalog)
    write(catalog, THINGS.replace(f", {NAME}", "").replace("integer", "number"))
    with pytest.raises(BadDeclaration) as caught:
        await start(pool, catalog)
    assert str(caught.value).splitlines() == [
        "dataset 'things': field 'name' can't be removed: its values would be lost",
        "dataset 'things': field 'id' can't become number: its values are integer",
    ]


async def test_a_file_that_says_what_stands_already_is_only_remembered(pool: Pool, catalog: Path) -> None:
    await start(pool, catalog)
    await pool.execute("UPDATE datasets SET filed = NULL")  # as after an upgrade, or a PUT of the same
    assert await start(pool, catalog) == []
    assert await pool.fetchval("SELECT filed IS NOT NULL FROM datasets")
