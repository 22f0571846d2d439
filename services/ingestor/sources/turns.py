"""Turns at the hosts of sources: one job requests pages of a host at a time, first come, first served."""

import contextlib
import time
from collections.abc import Iterator
from uuid import UUID

from shared.bus.failures import NotReady

FORGOTTEN_SECONDS = 10.0
"""Longer than the longest pause of a message that is not ready: its job has ended, or another replica serves it."""


class HostTurns:
    """The turns of a process, so that a slow source keeps its own host busy and nothing else."""

    def __init__(self) -> None:
        self._busy: set[str] = set()
        self._waiting: dict[str, dict[UUID, float]] = {}

    @contextlib.contextmanager
    def take(self, host: str, job_id: UUID) -> Iterator[None]:
        """Holds the host until the end of the block. Raises NotReady if it is busy, or another job came before."""
        now = time.monotonic()
        waiting = {job: since for job, since in self._waiting.get(host, {}).items() if now - since < FORGOTTEN_SECONDS}
        waiting[job_id] = now  # a job that asks again keeps its place
        self._waiting[host] = waiting
        if host in self._busy or next(iter(waiting)) != job_id:
            raise NotReady
        del waiting[job_id]
        self._busy.add(host)
        try:
            yield
        finally:
            self._busy.discard(host)
