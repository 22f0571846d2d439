"""The state folder: all that a local stack remembers, so that deleting it forgets the stack."""

from __future__ import annotations

import fcntl
import os
import secrets
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

REPOSITORY = Path(__file__).resolve().parents[2]
ROLES = ("millrace", "gateway", "ingestor", "indexer", "analytics")
PRIVATE = 0o600


class Facts(msgspec.Struct, kw_only=True):
    """Chosen at the first start and kept: passwords for good, ports until a stranger takes one."""

    identity: str
    passwords: dict[str, str]
    ports: dict[str, int] = {}
    elsewhere: dict[str, str] = {}


@dataclass(frozen=True)
class Home:
    folder: Path

    @classmethod
    def here(cls) -> Home:
        return cls(Path(os.environ.get("MILLRACE_HOME") or REPOSITORY / ".local").absolute())

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def pids(self) -> Path:
        return self.folder / "pids"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def rabbitmq(self) -> Path:
        return self.folder / "rabbitmq"

    @property
    def api_key(self) -> Path:
        return self.folder / "api-key"

    @property
    def env(self) -> Path:
        return self.folder / "env"

    def log(self, part: str) -> Path:
        return self.logs / f"{part}.log"

    def pid(self, part: str) -> Path:
        return self.pids / part

    def create(self) -> None:
        if not self.folder.exists():
            self.folder.mkdir(parents=True, mode=0o700)
        for folder in (self.logs, self.pids, self.spool, self.rabbitmq):
            folder.mkdir(exist_ok=True, mode=0o700)

    @property
    def _facts(self) -> Path:
        return self.folder / "stack.json"

    def exists(self) -> bool:
        return self._facts.exists()

    def facts(self) -> Facts:
        if self.exists():
            return msgspec.json.decode(self._facts.read_bytes(), type=Facts)
        return Facts(identity=secrets.token_hex(4), passwords={role: secrets.token_urlsafe(24) for role in ROLES})

    def keep(self, facts: Facts) -> None:
        write_private(self._facts, msgspec.json.format(msgspec.json.encode(facts)).decode() + "\n")

    @property
    def _wanted(self) -> Path:
        return self.folder / "wanted"

    def wanted(self) -> set[str]:
        """The parts that the supervisor must keep alive."""
        return set(self._wanted.read_text().split()) if self._wanted.exists() else set()

    def want(self, parts: set[str]) -> None:
        write_private(self._wanted, "".join(f"{part}\n" for part in sorted(parts)))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One `up` or `down` at a time: the second waits for the first."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def write_private(path: Path, text: str) -> None:
    """Whole or not at all, and never readable by others, not even for a moment."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "w") as file:
        file.write(text)
    draft.replace(path)


def assignments(env: str) -> dict[str, str]:
    """The variables in the text of a state folder's file `env`."""
    return dict(word.split("=", 1) for word in shlex.split(env))
