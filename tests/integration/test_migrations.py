"""Migrations: repeated runs change nothing, parallel runs apply once, applied files must not change."""

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from shared.db import migrate as migrations
from shared.db.migrate import ChangedMigration, MigrationSettings, migrate
from tests.stack import SERVICES, Stack


@pytest.fixture
async def settings(stack: Stack) -> AsyncIterator[MigrationSettings]:
    """For an empty database of its own. The roles keep the passwords that the stack's services log in with."""
    name = f"test_{secrets.token_hex(4)}"
    urls = {service: stack.env[f"{service.upper()}_DATABASE_URL"] for service in SERVICES}
    passwords = {f"{service}_password": urlsplit(url).password or "" for service, url in urls.items()}
    url = urlunsplit(urlsplit(stack.env["DATABASE_URL"])._replace(path=f"/{name}"))
    admin = await asyncpg.connect(stack.env["DATABASE_URL"])
    await admin.execute(f"CREATE DATABASE {name}")
    yield MigrationSettings(database_url=url, **passwords)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of every migration, which a test may change."""
    for folder in migrations.ROOT.glob("*/*/migrations"):
        shutil.copytree(folder, tmp_path / folder.relative_to(migrations.ROOT))
    monkeypatch.setattr(migrations, "ROOT", tmp_path)
    return tmp_path


async def test_the_first_run_applies_every_file_for_every_service(settings: MigrationSettings) -> None:
    done = await migrate(settings)
    assert len(done) == len(set(done))
    assert {name.split("/")[0] for name in done} == set(SERVICES)
    own = {
        f"{path.parts[-3]}/{path.relative_to(migrations.ROOT)}" for path in migrations.ROOT.glob("services/*/*/*.sql")
    }
    assert own <= set(done)
    assert [name for name in done if name.endswith("shared/bus/migrations/0001_outbox.sql")] == [
        f"{service}/shared/bus/migrations/0001_outbox.sql" for service in migrations.READABLE_SERVICES
    ]


async def test_running_again_changes_nothing(settings: MigrationSettings) -> None:
    await migrate(settings)
    before = await everything(settings)
    assert await migrate(settings) == []
    assert await everything(settings) == before


async def test_a_file_that_was_changed_after_it_was_applied_is_refused(
    settings: MigrationSettings, checkout: Path
) -> None:
    await migrate(settings)
    before = await everything(settings)
    changed = checkout / "services/gateway/migrations/0001_jobs.sql"
    changed.write_text(changed.read_text() + "-- a word more\n")
    (checkout / "services/ingestor/migrations/0002_more.sql").write_text("CREATE TABLE more (id integer);")
    with pytest.raises(ChangedMigration, match=r"0001_jobs\.sql was changed"):
        await migrate(settings)
    assert await everything(settings) == before  # what would have been applied before it is not there either


async def test_a_new_file_is_applied_once_and_its_table_may_be_read_by_who_hears_the_service(
    settings: MigrationSettings, checkout: Path
) -> None:
    await migrate(settings)
    (checkout / "services/ingestor/migrations/0002_more.sql").write_text("CREATE TABLE more (id integer);")
    assert await migrate(settings) == ["ingestor/services/ingestor/migrations/0002_more.sql"]
    assert await migrate(settings) == []
    admin = await asyncpg.connect(settings.database_url)
    assert await admin.fetchval("SELECT has_table_privilege('gateway', 'ingestor.more', 'SELECT')")
    assert not await admin.fetchval("SELECT has_table_privilege('gateway', 'ingestor.more', 'INSERT')")
    assert await admin.fetchval("SELECT tableowner FROM pg_tables WHERE tablename = 'more'") == "ingestor"
    await admin.close()


async def test_a_file_that_fails_leaves_nothing_of_the_run(settings: MigrationSettings, checkout: Path) -> None:
    (checkout / "services/gateway/migrations/0002_bad.sql").write_text("CREATE TABLE fine (id integer); SELECT 1/0;")
    before = await everything(settings)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(settings)
    assert await everything(settings) == before


async def test_two_that_run_at_once_apply_every_file_once(settings: MigrationSettings) -> None:
    results = await asyncio.gather(*(migrate(settings) for _ in range(4)))
    (done,) = filter(None, results)
    admin = await asyncpg.connect(settings.database_url)
    assert await admin.fetchval("SELECT count(*) FROM millrace.migrations") == len(done)
    await admin.close()


async def everything(settings: MigrationSettings) -> list[list[asyncpg.Record]]:
    """Tables, columns, constraints and indexes with their owners and grants, and the list of applied migrations."""
    admin = await asyncpg.connect(settings.database_url)
    ours = "(SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')"
    queries = [
        "SELECT nspname, nspowner, nspacl::text FROM pg_namespace ORDER BY 1",
        f"SELECT oid, relname, relowner, relacl::text FROM pg_class WHERE relnamespace IN {ours} ORDER BY 1",
        f"SELECT attrelid, attname FROM pg_attribute, pg_class c WHERE c.oid = attrelid AND relnamespace IN {ours}",
        f"SELECT oid, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace IN {ours} ORDER BY 1",
        "SELECT defaclrole, defaclnamespace, defaclacl::text FROM pg_default_acl ORDER BY 1, 2",
        "SELECT rolname, rolsuper, rolcanlogin FROM pg_roles ORDER BY 1",
    ]
    if await admin.fetchval("SELECT to_regclass('millrace.migrations') IS NOT NULL"):
        queries.append("SELECT * FROM millrace.migrations ORDER BY name")
    found = [sorted(await admin.fetch(query), key=repr) for query in queries]
    await admin.close()
    return found
