"""A service writes only its own tables and reads only published ones: tried as each role on every table."""

import re
from pathlib import Path

import asyncpg
import pytest

from services.analytics.declare import prepare_rollups
from services.indexer.documents.reindex import prepare_documents
from services.ingestor.ddl import detach_partition
from services.ingestor.write import partitions
from shared.contracts.events import DatasetDeclared
from shared.db.migrate import LEDGER_TABLES, PUBLISHED_TABLES
from tests.integration.ingestor_runner import DATASETS, connected, ingesting
from tests.stack import SERVICES

OWNED = {
    "gateway": {"gateway"},
    "ingestor": {"ingestor", "data", "detached"},
    "indexer": {"indexer", "documents"},
    "analytics": {"analytics", "rollups"},
}
HEARD = {
    "gateway": {"ingestor", "indexer", "analytics", "data", "detached", "documents", "rollups"},
    "ingestor": set[str](),
    "indexer": {"ingestor", "data", "detached"},
    "analytics": {"ingestor", "data", "detached"},
}
READABLE = {"ingestor": {"indexer.chunks", "indexer.indexes", "analytics.chunks"}}
"""Single tables of services that it does not hear: the ingestor deletes what these have finished with."""
WRITES = {
    "INSERT": "INSERT INTO {} DEFAULT VALUES",
    "UPDATE": 'UPDATE {} SET "{column}" = DEFAULT WHERE false',
    "DELETE": "DELETE FROM {} WHERE false",
    "TRUNCATE": "TRUNCATE {}",
    "DROP": "DROP TABLE {}",
    "ALTER": "ALTER TABLE {} ADD COLUMN mine integer",
}
PUBLISHED = {f"{schema}.{table}" for schema, tables in PUBLISHED_TABLES.items() for table in tables}
READ = "SELECT FROM {} LIMIT 0"
Table = tuple[str, str, str]


@pytest.fixture
async def inhabited(database: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The database with every kind of table in it, each made by the service that makes it."""
    async with ingesting(database, tmp_path) as ingestor:
        loaded = await ingestor.bring("hired_employees", "1,Ada,2021-11-07T00:00:00Z,1,1\n")
        assert loaded.inserted == 1  # and its year has a partition now
        async with ingestor.transaction() as db:
            await partitions.create_years(db, DATASETS["hired_employees"], [2020])
            for statement in detach_partition(DATASETS["hired_employees"], 2020):
                await db.execute(statement)
    async with connected(database["indexer"], "indexer") as pool, pool.acquire() as db:
        for dataset in DATASETS:
            await prepare_documents(DatasetDeclared(dataset=dataset, revision=1), db)
    async with connected(database["analytics"], "analytics") as pool, pool.acquire() as db:
        for dataset in DATASETS:
            await prepare_rollups(DatasetDeclared(dataset=dataset, revision=1), db)
    return database


async def tables(database: dict[str, str]) -> list[Table]:
    """Schema, table and a column of every table that is not Postgres' own."""
    admin = await asyncpg.connect(database["admin"])
    rows = await admin.fetch(
        """
        SELECT n.nspname, c.relname, (SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attnum = 1)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1, 2
        """
    )
    await admin.close()
    return [tuple(row) for row in rows]


async def is_allowed(db: asyncpg.Connection, statement: str) -> bool:
    """Whether Postgres lets this role try; what it would do is undone."""
    transaction = db.transaction()
    await transaction.start()
    try:
        await db.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return False
    except asyncpg.PostgresError:
        return True  # it fails for another reason, and not before the right to it was checked
    finally:
        await transaction.rollback()
    return True


def test_every_schema_that_a_service_may_use_is_somebodys() -> None:
    owned = set[str]().union(*OWNED.values())
    assert set(OWNED) == set(HEARD) == set(SERVICES)
    assert set[str]().union(*HEARD.values()) <= owned


async def test_the_tables_are_those_of_all_services(inhabited: dict[str, str]) -> None:
    found: dict[str, set[str]] = {}
    for schema, table, _ in await tables(inhabited):
        found.setdefault(schema, set()).add(table)
    assert set(found) == set[str]().union(*OWNED.values()) | {"millrace"}
    assert set(DATASETS) | {"hired_employees__2021"} == found["data"]
    assert found["detached"] == {"hired_employees__2020"}
    searched = {name for name, dataset in DATASETS.items() if dataset.search}
    made = {re.sub(r"__[0-9]+", "__", table) for table in found["documents"]}
    assert made == {f"{name}__{kind}" for name in searched for kind in ("", "w", "n")}
    assert found["rollups"] == {
        table for name, dataset in DATASETS.items() for rollup in dataset.rollups for table in rollup.tables(name)
    }
    for service in SERVICES:
        assert set(LEDGER_TABLES) <= found[service]


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_reads_its_own_those_whom_it_hears_and_all_ledgers_and_no_others(
    inhabited: dict[str, str], service: str
) -> None:
    db = await asyncpg.connect(inhabited[service])
    known = await tables(inhabited)
    readable = {f"{schema}.{table}" for schema, table, _ in known if await is_allowed(db, _on(READ, schema, table))}
    expected = OWNED[service] | HEARD[service]
    expected_tables = {
        f"{schema}.{table}"
        for schema, table, _ in known
        if schema in expected or (schema in SERVICES and table in LEDGER_TABLES)
    }
    assert readable == expected_tables | READABLE.get(service, set()) | PUBLISHED
    await db.close()


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("verb", WRITES)
async def test_a_service_writes_its_own_and_nothing_else(inhabited: dict[str, str], service: str, verb: str) -> None:
    db = await asyncpg.connect(inhabited[service])
    known = await tables(inhabited)
    writable = {
        f"{schema}.{table}"
        for schema, table, column in known
        if await is_allowed(db, _on(WRITES[verb], schema, table, column))
    }
    assert writable == {f"{schema}.{table}" for schema, table, _ in known if schema in OWNED[service]}
    await db.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_makes_tables_in_its_own_schemas_only(inhabited: dict[str, str], service: str) -> None:
    db = await asyncpg.connect(inhabited[service])
    schemas = {schema for schema, _, _ in await tables(inhabited)} | {"public"}
    usable = {schema for schema in schemas if await is_allowed(db, f"CREATE TABLE {schema}.mine (id integer)")}
    assert usable == OWNED[service]
    assert not await is_allowed(db, "CREATE SCHEMA mine")
    await db.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_cannot_become_another_or_more_than_it_is(inhabited: dict[str, str], service: str) -> None:
    db = await asyncpg.connect(inhabited[service])
    admin = await db.fetchval("SELECT rolname FROM pg_roles WHERE rolsuper AND rolname !~ '^pg_' LIMIT 1")
    for role in [admin, *(other for other in SERVICES if other != service)]:
        assert not await is_allowed(db, f"SET ROLE {role}")
    assert not await is_allowed(db, f"ALTER ROLE {service} SUPERUSER")
    assert not await db.fetchval("SELECT rolcreatedb OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
    assert not await is_allowed(db, "CREATE ROLE mine")
    await db.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_what_a_service_makes_later_can_be_read_by_who_hears_it(inhabited: dict[str, str], service: str) -> None:
    maker = await asyncpg.connect(inhabited[service])
    for schema in OWNED[service]:
        await maker.execute(f"CREATE TABLE {schema}.later (id integer)")
    await maker.close()
    for other in SERVICES:
        db = await asyncpg.connect(inhabited[other])
        for schema in OWNED[service]:
            may = schema in OWNED[other] | HEARD[other]
            assert await is_allowed(db, _on(READ, schema, "later")) == may, f"{other} reads {schema}"
        await db.close()


def _on(statement: str, schema: str, table: str, column: str = "") -> str:
    return statement.format(f'"{schema}"."{table}"', column=column)
