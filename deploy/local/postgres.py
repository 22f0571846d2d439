"""Postgres as a private server: its programs, its data, its settings."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path

from deploy.local import probes
from deploy.local.addresses import HOST
from deploy.local.failure import StackFailure
from deploy.local.part import Part, as_user
from deploy.local.state import Facts, Home, write_private

DISTRIBUTION = Path("/usr/lib/postgresql")
OUTSIDE = Path("/var/lib/millrace")
STOP = signal.SIGINT  # "fast": it ends the sessions instead of waiting for them
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "512MB",
    "wal_level": "replica",
    "max_wal_size": "4GB",
    "synchronous_commit": "on",
    "random_page_cost": "1.1",
    "idle_in_transaction_session_timeout": "5min",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}


def programs(home: Home) -> Path | None:
    """The folder of Postgres' programs: the newest, or the very version that made the data."""
    newest_first = sorted(DISTRIBUTION.glob("*/bin/postgres"), key=_version, reverse=True)
    on_path = [Path(found).resolve() for found in [shutil.which("postgres")] if found]
    found = [program.parent for program in [*newest_first, *on_path] if (program.parent / "initdb").exists()]
    if not found or not _has_data(home):
        return found[0] if found else None
    version = (home.postgres / "PG_VERSION").read_text().strip()
    fitting = [folder for folder in found if folder.parent.name == version or folder.parent.parent != DISTRIBUTION]
    if not fitting:
        raise StackFailure(
            f"The data in {home.postgres} was made by Postgres {version}, which is not installed any more: "
            f"install postgresql-{version}, or delete {home.folder} to start afresh."
        )
    return fitting[0]


def part(home: Home, facts: Facts) -> Part:
    port = facts.ports["postgres"]
    folder = programs(home)
    settings = [f"--{name}={value}" for name, value in {**SETTINGS, "port": str(port)}.items()]
    return Part(
        name="postgres",
        address=f"{HOST}:{port}",
        probe=partial(probes.postgres_accepts, HOST, port),
        command=[str(folder / "postgres"), "-D", str(home.postgres.resolve()), *settings] if folder else [],
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        user=_user(),
        stop=STOP,
        grace=60.0,
    )


def initialise(home: Home, facts: Facts) -> None:
    """Make the data folder with its administrator and its database, once."""
    if _has_data(home):
        return
    folder = programs(home)
    if folder is None:
        raise StackFailure("Postgres is not installed.")
    draft = _place(home, facts)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    password = draft.with_name("postgres.password")
    write_private(password, facts.passwords["millrace"])
    if (user := _user()) is not None:
        shutil.chown(draft, user, user)
        shutil.chown(password, user, user)
    locale = ["--encoding=UTF8", "--locale=C.UTF-8"]
    access = ["--username=millrace", "--auth=scram-sha-256", f"--pwfile={password}"]
    try:
        _run([str(folder / "initdb"), "-D", str(draft), *locale, *access])
    finally:
        password.unlink()
    _run([str(folder / "postgres"), "--single", "-D", str(draft), "template1"], "CREATE DATABASE millrace\n")
    # Only now does it count as made: a start that is interrupted above begins again from nothing.
    made = draft.with_name("postgres")
    draft.rename(made)
    if made != home.postgres:
        home.postgres.unlink(missing_ok=True)
        home.postgres.symlink_to(made)


def _version(program: Path) -> float:
    try:
        return float(program.parent.parent.name)
    except ValueError:
        return 0.0


def _has_data(home: Home) -> bool:
    return (home.postgres / "PG_VERSION").exists()


def _user() -> str | None:
    # Postgres refuses to run as root.
    return "postgres" if os.geteuid() == 0 else None


def _place(home: Home, facts: Facts) -> Path:
    """Where to make the data: in the state folder, unless Postgres' own user cannot get there.

    A checkout under /root is closed to every other user, and opening /root is not ours to do. The data then lives in
    /var/lib, under this state folder's identity, and the state folder holds a link to it.
    """
    user = _user()
    if user is None:
        return home.folder / "postgres.new"
    may_enter = [*as_user(user), "test", "-x", str(home.folder.parent)]
    if subprocess.run(may_enter, check=False).returncode == 0:
        home.folder.chmod(0o711)
        return home.folder / "postgres.new"
    folder = OUTSIDE / facts.identity
    folder.mkdir(parents=True, exist_ok=True, mode=0o711)
    (folder / "belongs-to").write_text(f"{home.folder}\n")
    return folder / "postgres.new"


def _run(command: list[str], given: str = "") -> None:
    done = subprocess.run(
        [*as_user(_user()), *command],
        input=given,
        cwd="/",
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise StackFailure(f"{Path(command[0]).name} failed:\n{tail}")
