"""Postgres as a private server: programs, data folder, settings."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path

from deploy.local import probes
from deploy.local.addresses import HOST
from deploy.local.part import Part, StackError, user_prefix
from deploy.local.state import Home, StackConfig, write_private

DISTRIBUTION = Path("/usr/lib/postgresql")
DATA_OUTSIDE_HOME = Path("/var/lib/millrace")
STOP = signal.SIGINT  # fast shutdown: ends the sessions instead of waiting for them
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


def find_programs(home: Home) -> Path | None:
    """Returns the folder of Postgres' programs: the newest version, or the one that created the data.

    None if Postgres is not installed. Raises StackError if only the version of the data is missing.
    """
    newest_first = sorted(DISTRIBUTION.glob("*/bin/postgres"), key=_version, reverse=True)
    on_path = [Path(path).resolve() for path in [shutil.which("postgres")] if path]
    folders = [program.parent for program in [*newest_first, *on_path] if (program.parent / "initdb").exists()]
    if not folders or not _has_data(home):
        return folders[0] if folders else None
    version = (home.postgres / "PG_VERSION").read_text().strip()
    matching = [folder for folder in folders if folder.parent.name == version or folder.parent.parent != DISTRIBUTION]
    if not matching:
        raise StackError(
            f"The data in {home.postgres} was created by Postgres {version}, which is no longer installed: "
            f"install postgresql-{version}, or delete {home.folder} to start with an empty stack."
        )
    return matching[0]


def build_part(home: Home, config: StackConfig) -> Part:
    """Returns the server as a part; its command is empty if Postgres is not installed."""
    port = config.ports["postgres"]
    folder = find_programs(home)
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


def initialise(home: Home, config: StackConfig) -> None:
    """Creates the data folder with its administrator and its database, unless it exists."""
    if _has_data(home):
        return
    folder = find_programs(home)
    if folder is None:
        raise StackError("Postgres is not installed.")
    draft = _draft_folder(home, config)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    password = draft.with_name("postgres.password")
    write_private(password, config.passwords["millrace"])
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
    # The rename completes the initialisation: an interrupted one starts over.
    data = draft.with_name("postgres")
    draft.rename(data)
    if data != home.postgres:
        home.postgres.unlink(missing_ok=True)
        home.postgres.symlink_to(data)


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


def _draft_folder(home: Home, config: StackConfig) -> Path:
    """Returns where to create the data: in the state folder, unless Postgres' user cannot enter it.

    No other user may enter a checkout under /root. Its data is in /var/lib/millrace, in a folder named after the
    stack's identity, and the state folder has a link to it.
    """
    user = _user()
    if user is None:
        return home.folder / "postgres.new"
    may_enter = [*user_prefix(user), "test", "-x", str(home.folder.parent)]
    if subprocess.run(may_enter, check=False).returncode == 0:
        home.folder.chmod(0o711)
        return home.folder / "postgres.new"
    folder = DATA_OUTSIDE_HOME / config.identity
    folder.mkdir(parents=True, exist_ok=True, mode=0o711)
    (folder / "belongs-to").write_text(f"{home.folder}\n")
    return folder / "postgres.new"


def _run(command: list[str], stdin: str = "") -> None:
    done = subprocess.run(
        [*user_prefix(_user()), *command],
        input=stdin,
        cwd="/",
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise StackError(f"{Path(command[0]).name} failed:\n{tail}")
