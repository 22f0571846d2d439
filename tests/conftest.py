"""Fixtures: a stack for the whole session, and an empty database of the same server for a test that wants one."""

import contextlib
import secrets
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest

from deploy.state import assignments
from shared.db.migrate import MigrationSettings, migrate
from tests.outside import Outside, sandboxed
from tests.stack import SERVICES, Stack, remove, run_millrace
from tests.waiting import eventually


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
        await _put_off_schedules(env["DATABASE_URL"])
        async with httpx.AsyncClient(
            base_url=env["GATEWAY_URL"], headers={"Authorization": f"Bearer {key}"}, timeout=90
        ) as client:
            yield Stack(home, env, key, client)
    finally:
        stopped = run_millrace(home, "down")
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr
        remove(home)


async def _put_off_schedules(url: str) -> None:
    """Of the catalog, to tomorrow's: no sync begins among the tests because it happens to be midnight."""
    db = await asyncpg.connect(url)

    async def put_off() -> bool:
        return await db.execute("UPDATE gateway.schedules SET next_at = next_at + interval '1 day'") != "UPDATE 0"

    assert await eventually(put_off, 30)
    await db.close()


@pytest.fixture
async def database(stack: Stack) -> AsyncIterator[dict[str, str]]:
    """A database of its own, migrated; the URL of each service's role in it, and `admin`'s."""
    name = f"test_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(stack.env["DATABASE_URL"])
    await admin.execute(f"CREATE DATABASE {name}")
    urls = {service: _in_database(stack.env[f"{service.upper()}_DATABASE_URL"], name) for service in SERVICES}
    urls["admin"] = _in_database(stack.env["DATABASE_URL"], name)
    # Roles belong to the whole server: they keep the passwords that the stack's services log in with.
    passwords = {f"{service}_password": urlsplit(urls[service]).password or "" for service in SERVICES}
    try:
        await migrate(MigrationSettings(database_url=urls["admin"], **passwords))
        yield urls
    finally:
        with contextlib.suppress(asyncpg.PostgresError):
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    """The outside world, on its first day."""
    async with sandboxed() as started:
        yield started


def _in_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
