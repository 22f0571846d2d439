"""The stack under test: real servers and services with their own state folder and ports."""

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx2
import msgspec

from deploy.local import ports
from tests.waiting import eventually

ROOT = Path(__file__).parents[1]
MILLRACE = Path(sys.executable).with_name("millrace")
SERVICES = ("gateway", "ingestor", "indexer", "analytics")
EMPTIED_SECONDS = 30
ENDED_SECONDS = 90


class Stack(msgspec.Struct, frozen=True):
    """A running stack; `env` are the variables of its state folder."""

    home: Path
    env: dict[str, str]
    key: str
    client: httpx2.AsyncClient
    forgiven: dict[str, float]
    """By service, the messages that recovery sent again because of faults of tests."""

    @property
    def url(self) -> str:
        """Of the gateway."""
        return self.env["GATEWAY_URL"]

    def pid(self, part: str) -> int:
        """Of a service or server that runs."""
        return int((self.home / "pids" / part).read_text().split()[0])

    def kill(self, part: str) -> None:
        """As the kernel would: no warning, no clean-up."""
        os.kill(self.pid(part), signal.SIGKILL)

    def millrace(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command, against this stack."""
        return run_millrace(self.home, *arguments)


def run_millrace(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, against the stack in this state folder, whatever the caller's environment says."""
    kept = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "BROKER_URL")}
    return subprocess.run(
        [MILLRACE, *arguments],
        env={**kept, "MILLRACE_HOME": str(home)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@contextlib.contextmanager
def replica(stack: Stack, service: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One more process of a service, on the same database and broker."""
    settings = {
        "DATABASE_URL": stack.env[f"{service.upper()}_DATABASE_URL"],
        "BROKER_URL": stack.env["BROKER_URL"],
        "SPOOL_URL": stack.env["SPOOL_URL"],
        "CATALOG_DIR": str(ROOT / "catalog"),
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(free_port()),
    }
    with log.open("wb") as out:
        command = [sys.executable, "-m", f"services.{service}"]
        process = subprocess.Popen(command, env={**os.environ, **settings}, cwd=ROOT, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def read_metric(env: dict[str, str], service: str, name: str) -> float:
    """The sum over all labels; 0 if there is none yet."""
    async with httpx2.AsyncClient() as client:
        text = (await client.get(env[f"{service.upper()}_URL"] + "/metrics")).text
    assert "millrace_" in text
    return sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))


async def read_resent(env: dict[str, str]) -> dict[str, float]:
    """By service, how many messages recovery has sent again since the process began."""
    return {service: await read_metric(env, service, "millrace_resent_total") for service in SERVICES}


async def check_resent(stack: Stack) -> None:
    """Recovery has sent nothing again but for faults of tests."""
    resent = await read_resent(stack.env)
    extra = {service: count for service, count in resent.items() if count > stack.forgiven.get(service, 0)}
    assert extra == {}, f"sent again without a fault: {extra}; look for `message resent` in the services' logs"


async def wait_until_ended(stack: Stack) -> None:
    """Waits until every message of every service has ended."""
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    tables = " UNION ALL ".join(f"SELECT name FROM {service}.outbox" for service in SERVICES)
    try:

        async def ended() -> bool:
            return not await db.fetchval(f"SELECT EXISTS ({tables})")

        await eventually(ended, ENDED_SECONDS)
    finally:
        await db.close()


def free_port() -> int:
    """A port that no other stack and no other test takes while this process lives."""
    return ports.choose("test", secrets.token_hex(4), ())


def memory(process: Path, kind: str) -> int:
    """Reads a size in bytes from the process's status."""
    return 1024 * int(re.findall(rf"{kind}:\s+(\d+) kB", (process / "status").read_text())[0])


def remove(home: Path) -> None:
    """The folder, and where the Postgres data was put that its own user could not have reached in it."""
    data = (home / "postgres").resolve()
    shutil.rmtree(home, ignore_errors=True)
    if not data.is_relative_to(home):
        shutil.rmtree(data.parent, ignore_errors=True)


async def empty(stack: Stack) -> None:
    """No row, document or sum is left of whatever other tests have loaded; jobs stay."""
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    try:
        tables = await db.fetch(
            "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
            " WHERE schemaname IN ('data', 'documents', 'rollups')"
        )

        async def emptied() -> bool:
            # A service that looks into two of them meanwhile can meet this in a deadlock, which then ends for us.
            with contextlib.suppress(asyncpg.DeadlockDetectedError):
                await db.execute(f"TRUNCATE {', '.join(table['name'] for table in tables)}")
                return True
            return False

        await eventually(emptied, EMPTIED_SECONDS)
        await db.execute("UPDATE indexer.indexes SET words = 0")
    finally:
        await db.close()
