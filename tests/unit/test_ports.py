"""Choosing ports for several stacks."""

import os
import subprocess

import pytest

from deploy.local import ports


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(ports, "claims", [])
    return ports.choose("postgres", "0badcafe", ())


def release() -> None:
    """As the end of the process that claimed."""
    for claimed in ports.claims:
        os.close(claimed)
    ports.claims.clear()


def test_a_claimed_port_is_free_and_is_not_claimed_twice(port: int) -> None:
    assert ports.is_free(port)
    assert not ports.claim(port)
    assert ports.choose("postgres", "0badcafe", ()) != port
    release()


def test_a_process_that_inherits_a_claim_keeps_it(port: int) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=ports.claims) as heir:
        release()
        assert not ports.claim(port)
        heir.communicate()
    assert ports.claim(port)
    release()
