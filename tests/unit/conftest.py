"""Fixtures of tests that need no server but one of their own."""

import threading
from collections.abc import Iterator

import pytest

from cli import following, retry
from tests.unit.fake_gateway import Fake


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """A gateway that says what it is told to say; the commands know no other."""
    with Fake() as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        monkeypatch.setenv("MILLRACE_URL", server.url)
        monkeypatch.setenv("MILLRACE_KEY", "secret")
        monkeypatch.setattr(retry, "PAUSES", (0.0, 0.0))
        monkeypatch.setattr(following, "PAUSE_SECONDS", 0.0)
        yield server
        server.shutdown()
        thread.join()
