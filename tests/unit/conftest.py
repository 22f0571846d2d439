"""Fixtures of tests without a stack."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import follow, retry
from tests.unit.fake_gateway import FakeGateway


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    """A fake gateway, to which the environment points the commands."""
    with FakeGateway() as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        monkeypatch.setenv("MILLRACE_URL", server.url)
        monkeypatch.setenv("MILLRACE_KEY", "secret")
        monkeypatch.setattr(retry, "PAUSES", (0.0, 0.0))
        monkeypatch.setattr(follow, "PAUSE_SECONDS", 0.0)
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def people(tmp_path: Path) -> str:
    """A CSV file of 600 kB."""
    file = tmp_path / "people.csv"
    file.write_bytes(b"id,name\n" + b"1,Ada\n" * 100_000)
    return str(file)
