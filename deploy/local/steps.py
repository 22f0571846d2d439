"""What happens once between the servers and the services: tables, queues, and the first API key."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

from deploy.local.addresses import SERVICES, broker_url, database_url
from deploy.local.failure import StackFailure
from deploy.local.state import REPOSITORY, Facts, Home, write_private

KEYS = "services.gateway.http.api_keys"
SHOWN_LINES = 15

Say = Callable[[str], None]


def migrate(home: Home, facts: Facts, say: Say) -> None:
    passwords = {f"{role.upper()}_PASSWORD": facts.passwords[role] for role in SERVICES}
    _step(home, "migrate", "shared.db.migrate", {"DATABASE_URL": database_url(facts, "millrace"), **passwords}, say)


def declare_topology(home: Home, facts: Facts, say: Say) -> None:
    _step(home, "topology", "deploy.topology", {"BROKER_URL": broker_url(facts)}, say)


def ensure_api_key(home: Home, facts: Facts, say: Say) -> None:
    """A key that the gateway accepts: the one in the state folder, or a new one if the database is another."""
    env = {"DATABASE_URL": database_url(facts, "gateway")}
    if home.api_key.exists() and _python([KEYS, "verify"], env, home.api_key.read_text()).returncode == 0:
        return
    made = _python([KEYS, "create", "--name", "local", "--scopes", "admin"], env)
    if made.returncode != 0:
        raise StackFailure(f"No API key could be made:\n{_tail(made)}")
    write_private(home.api_key, made.stdout.strip() + "\n")
    say(f"api-key    written to {home.api_key}")


def _step(home: Home, name: str, module: str, env: dict[str, str], say: Say) -> None:
    started = time.monotonic()
    done = _python([module], env)
    with home.log(name).open("a") as log:
        log.write(done.stdout + done.stderr)
    if done.returncode != 0:
        raise StackFailure(f"`python -m {module}` failed:\n{_tail(done)}")
    say(f"{name:10} done ({time.monotonic() - started:.1f} s)")


def _python(arguments: list[str], env: dict[str, str], given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        input=given,
        cwd=REPOSITORY,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def _tail(done: subprocess.CompletedProcess[str]) -> str:
    return "\n".join((done.stdout + done.stderr).splitlines()[-SHOWN_LINES:])
