"""Fixtures: a stack for the whole session, and an empty database for each test that needs one."""

import contextlib
import secrets
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx2
import pytest
import structlog
from hypothesis import HealthCheck, settings

from deploy.local.state import assignments
from shared.db.migrate import MigrationSettings, migrate
from tests.fake_source import FakeSource, run_fake_source
from tests.stack import SERVICES, Stack, check_resent, read_resent, remove, run_millrace, wait_until_ended
from tests.waiting import eventually

# An example takes as long as the machine is busy with other tests; what is too slow, pytest-timeout ends.
settings.register_profile("side by side", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("side by side"), max_examples=30)  # for `make unit`
settings.load_profile("side by side")

# A traceback that is drawn with all its variables takes a second, and nobody looks at it.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)


@pytest.fixture(scope="session")
async def stack() -> AsyncIterator[Stack]:
    """Started once, from nothing, by the command that people use."""
    home = Path(tempfile.mkdtemp(prefix="millrace-test-"))
    home.chmod(0o711)  # Postgres' own user has to get through to its data
    try:
        started = run_millrace(home, "up")
        assert started.returncode == 0, started.stdout + started.stderr
        env = assignments((home / "env").read_text())
        key = (home / "api-key").read_text().strip()
        await _forgo_syncing(env["DATABASE_URL"])
        await _put_off_schedules(env["DATABASE_URL"])
        async with httpx2.AsyncClient(
            base_url=env["GATEWAY_URL"], headers={"Authorization": f"Bearer {key}"}, timeout=90
        ) as client:
            started_stack = Stack(home, env, key, client, {})
            yield started_stack
            await check_resent(started_stack)
    finally:
        stopped = run_millrace(home, "down")
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr
        remove(home)


@pytest.fixture
async def faults(stack: Stack) -> AsyncIterator[None]:
    """For tests that kill servers or services: what recovery sends again until all is done is forgiven."""
    await check_resent(stack)
    yield
    await wait_until_ended(stack)
    stack.forgiven.update(await read_resent(stack.env))


async def _forgo_syncing(url: str) -> None:
    """Tests kill processes and never the machine: what Postgres has committed it finds again in the kernel's cache."""
    db = await asyncpg.connect(url)
    await db.execute("ALTER SYSTEM SET fsync = off")
    await db.execute("SELECT pg_reload_conf()")
    await db.close()


async def _put_off_schedules(url: str) -> None:
    """Of the catalog, to tomorrow's: no sync begins among the tests because it happens to be midnight."""
    db = await asyncpg.connect(url)

    async def put_off() -> bool:
        return await db.execute("UPDATE gateway.schedules SET next_at = next_at + interval '1 day'") != "UPDATE 0"

    assert await eventually(put_off, 30)
    await db.close()


@pytest.fixture(scope="session")
async def migrated(stack: Stack) -> AsyncIterator[str]:
    """The name of a database that others are copied from: that is quicker than running all migrations."""
    async with database_like(stack, "template1") as urls:
        # Roles belong to the whole server: they keep the passwords that the stack's services log in with.
        passwords = {f"{service}_password": urlsplit(urls[service]).password or "" for service in SERVICES}
        await migrate(MigrationSettings(database_url=urls["admin"], **passwords))
        yield named(urls)


@pytest.fixture
async def database(stack: Stack, migrated: str) -> AsyncIterator[dict[str, str]]:
    """A database of its own, migrated; the URL of each service's role in it, and `admin`'s."""
    async with database_like(stack, migrated) as urls:
        yield urls


@pytest.fixture
async def fake_source() -> AsyncIterator[FakeSource]:
    """The outside world, on its first day."""
    async with run_fake_source() as started:
        yield started


@contextlib.asynccontextmanager
async def database_like(stack: Stack, template: str) -> AsyncIterator[dict[str, str]]:
    """A copy of another one, which nobody is connected to."""
    name = f"test_{secrets.token_hex(4)}"
    urls = {service: _in_database(stack.env[f"{service.upper()}_DATABASE_URL"], name) for service in SERVICES}
    urls["admin"] = _in_database(stack.env["DATABASE_URL"], name)
    await _execute(stack, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield urls
    finally:
        with contextlib.suppress(asyncpg.PostgresError):
            await _execute(stack, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(stack: Stack, statement: str) -> None:
    """On a connection of its own: Postgres is killed now and then."""
    admin = await asyncpg.connect(stack.env["DATABASE_URL"])
    try:
        await admin.execute(statement)
    finally:
        await admin.close()


def named(urls: dict[str, str]) -> str:
    """The database that the URLs lead to."""
    return urlsplit(urls["admin"]).path[1:]


def _in_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
