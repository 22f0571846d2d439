"""Setup steps between servers and services: migrations, queues, the first API key."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from deploy.local.addresses import SERVICES, broker_url, database_url
from deploy.local.part import Echo, StackError
from deploy.local.state import REPOSITORY, Home, StackConfig, write_private

KEYS = "services.gateway.http.api_keys"
ERROR_LINES = 15


def migrate(home: Home, config: StackConfig, echo: Echo) -> None:
    """Migrates the database and sets the passwords of the roles."""
    passwords = {f"{role.upper()}_PASSWORD": config.passwords[role] for role in SERVICES}
    _run_step(
        home, "migrate", "shared.db.migrate", {"DATABASE_URL": database_url(config, "millrace"), **passwords}, echo
    )


def declare_topology(home: Home, config: StackConfig, echo: Echo) -> None:
    """Declares exchanges and queues."""
    _run_step(home, "topology", "deploy.topology", {"BROKER_URL": broker_url(config)}, echo)


def ensure_api_key(home: Home, config: StackConfig, echo: Echo) -> None:
    """Creates an API key unless the database accepts the one in the state folder."""
    env = {"DATABASE_URL": database_url(config, "gateway")}
    if home.api_key.exists() and _run_module([KEYS, "verify"], env, home.api_key.read_text()).returncode == 0:
        return
    done = _run_module([KEYS, "create", "--name", "local", "--scopes", "admin"], env)
    if done.returncode != 0:
        raise StackError(f"The API key could not be created:\n{_tail(done)}")
    write_private(home.api_key, done.stdout.strip() + "\n")
    echo(f"api-key    written to {home.api_key}")


def _run_step(home: Home, name: str, module: str, env: dict[str, str], echo: Echo) -> None:
    started = time.monotonic()
    done = _run_module([module], env)
    with home.log(name).open("a") as log:
        log.write(done.stdout + done.stderr)
    if done.returncode != 0:
        raise StackError(f"`python -m {module}` failed:\n{_tail(done)}")
    echo(f"{name:10} done ({time.monotonic() - started:.1f} s)")


def _run_module(arguments: list[str], env: dict[str, str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        input=stdin,
        cwd=REPOSITORY,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def _tail(done: subprocess.CompletedProcess[str]) -> str:
    return "\n".join((done.stdout + done.stderr).splitlines()[-ERROR_LINES:])
