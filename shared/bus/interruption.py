"""Interruption of running handlers, when their job is canceled."""

import asyncio
import contextlib
from collections.abc import Container, Iterator
from typing import Any
from uuid import UUID

from shared.contracts.message import Command, Message


class Interrupted(Exception):
    """The job of the command is being canceled; the transaction is rolled back."""


class RunningCommands:
    """The commands of jobs that one queue's handlers work on, each in its own task."""

    def __init__(self) -> None:
        self._jobs: dict[asyncio.Task[Any] | None, UUID] = {}
        self._interrupted: set[asyncio.Task[Any] | None] = set()

    @contextlib.contextmanager
    def handle(self, message: Message) -> Iterator[None]:
        """Lets the current task be interrupted inside, if the message is a command of a job. Raises Interrupted."""
        task = asyncio.current_task()
        job_id = getattr(message, "job_id", None)
        if isinstance(message, Command) and job_id is not None:
            self._jobs[task] = job_id
        try:
            yield
        except asyncio.CancelledError:
            if task is None or task not in self._interrupted:
                raise
            task.uncancel()
            raise Interrupted from None
        finally:
            self._jobs.pop(task, None)
            self._interrupted.discard(task)

    def interrupt(self, job_ids: Container[UUID]) -> None:
        """Interrupts the handlers of these jobs, each once: their rollback must not be interrupted."""
        for task in [task for task, job_id in self._jobs.items() if job_id in job_ids]:
            if task is not None:
                del self._jobs[task]
                self._interrupted.add(task)
                task.cancel()
