"""Turns at the hosts of sources."""

from uuid import UUID, uuid4

import pytest

from services.ingestor.sources import turns
from services.ingestor.sources.turns import HostTurns
from shared.bus.failures import NotReady

HOST, OTHER = "crm.example:443", "shop.example:443"
FIRST, SECOND, THIRD = uuid4(), uuid4(), uuid4()


def refuses(hosts: HostTurns, host: str, *jobs: UUID) -> bool:
    """Whether none of the jobs may request the host now; each has asked."""
    for job in jobs:
        with pytest.raises(NotReady), hosts.take(host, job):
            pass
    return True


def test_a_busy_host_keeps_no_other_host_busy() -> None:
    hosts = HostTurns()
    with hosts.take(HOST, FIRST):
        assert refuses(hosts, HOST, SECOND)
        with hosts.take(OTHER, SECOND):
            assert refuses(hosts, OTHER, THIRD)


def test_jobs_get_their_turns_in_the_order_in_which_they_asked() -> None:
    hosts = HostTurns()
    with hosts.take(HOST, FIRST):
        assert refuses(hosts, HOST, SECOND, THIRD, SECOND)
    assert refuses(hosts, HOST, THIRD, FIRST)  # the second one is next, and then the third
    with hosts.take(HOST, SECOND):
        pass
    assert refuses(hosts, HOST, FIRST)
    with hosts.take(HOST, THIRD):
        pass
    with hosts.take(HOST, FIRST):
        pass


def test_a_failure_gives_the_turn_back() -> None:
    hosts = HostTurns()
    with pytest.raises(ValueError, match="down"), hosts.take(HOST, FIRST):
        raise ValueError("down")
    with hosts.take(HOST, SECOND):
        pass


def test_a_job_that_does_not_ask_again_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = HostTurns()
    with hosts.take(HOST, FIRST):
        assert refuses(hosts, HOST, SECOND)
    assert refuses(hosts, HOST, THIRD)
    monkeypatch.setattr(turns, "FORGOTTEN_SECONDS", 0.0)
    with hosts.take(HOST, THIRD):
        pass
