"""The state folder: everything that a local stack stores. Deleting the folder deletes the stack."""

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


class StackConfig(msgspec.Struct, kw_only=True):
    """Choices of the first start, kept in `stack.json`. A port changes only if another program has taken it.

    `external` are the URLs of servers that run elsewhere, by environment variable.
    """

    identity: str
    passwords: dict[str, str]
    ports: dict[str, int] = {}
    external: dict[str, str] = msgspec.field(default_factory=dict, name="elsewhere")


@dataclass(frozen=True)
class Home:
    """The state folder and the files in it."""

    folder: Path

    @classmethod
    def here(cls) -> Home:
        """Returns the folder of MILLRACE_HOME, or `.local` of the checkout."""
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
        """Creates the folder and its subfolders, readable only by their owner."""
        if not self.folder.exists():
            self.folder.mkdir(parents=True, mode=0o700)
        for folder in (self.logs, self.pids, self.spool, self.rabbitmq):
            folder.mkdir(exist_ok=True, mode=0o700)

    @property
    def _config(self) -> Path:
        return self.folder / "stack.json"

    def exists(self) -> bool:
        """Returns whether the stack was ever started."""
        return self._config.exists()

    def read_config(self) -> StackConfig:
        """Returns the stored configuration, or a new one with random passwords."""
        if self.exists():
            return msgspec.json.decode(self._config.read_bytes(), type=StackConfig)
        return StackConfig(identity=secrets.token_hex(4), passwords={role: secrets.token_urlsafe(24) for role in ROLES})

    def write_config(self, config: StackConfig) -> None:
        """Stores the configuration."""
        write_private(self._config, msgspec.json.format(msgspec.json.encode(config)).decode() + "\n")

    @property
    def _wanted(self) -> Path:
        return self.folder / "wanted"

    def read_wanted(self) -> set[str]:
        """Returns the names of the parts that the supervisor keeps running."""
        return set(self._wanted.read_text().split()) if self._wanted.exists() else set()

    def write_wanted(self, parts: set[str]) -> None:
        """Stores the names of the parts that the supervisor keeps running."""
        write_private(self._wanted, "".join(f"{part}\n" for part in sorted(parts)))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Allows one `up` or `down` at a time; a second one waits."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def write_private(path: Path, text: str) -> None:
    """Replaces the file atomically; it is never readable by other users."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "w") as file:
        file.write(text)
    draft.replace(path)


def assignments(env: str) -> dict[str, str]:
    """Parses the text of the state folder's `env` file."""
    return dict(word.split("=", 1) for word in shlex.split(env))
