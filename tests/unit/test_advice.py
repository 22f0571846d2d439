"""What `why` says, for every state of a job and of its messages."""

import datetime as dt
from typing import Any
from uuid import UUID

import msgspec
import pytest

from services.gateway.jobs import advice, progress
from services.gateway.jobs.job import Job
from services.gateway.jobs.open_work import OpenWork, Queue, WaitingMessage
from shared.contracts.parts import Outcome, Problem
from shared.reads.ingestor.imports import LoadedChunks
from tests.unit.test_progress import START, queued

NOW = START + dt.timedelta(minutes=1)
BAD = Problem(code="gave_up", detail="ValueError: no.", hint="See the log.")
CANCELED = Problem(code="canceled", detail="Canceled on request.", hint="Retry it.")


def message(**changed: Any) -> WaitingMessage:
    """A command in its queue."""
    waiting = WaitingMessage(
        id=UUID(int=2),
        name="load_chunk",
        service="ingestor",
        queue="ingestor.load_chunk",
        state="sent",
        created_at=START,
        sent_at=START,
        due_at=None,
        attempts=0,
        problem=None,
    )
    return msgspec.structs.replace(waiting, **changed)


def work(*messages: WaitingMessage, **changed: Any) -> OpenWork:
    nothing = OpenWork(
        stopping=None,
        messages=list(messages),
        messages_total=len(messages),
        queues=[],
        dead_letters=[],
        dead_letters_total=0,
        attempts=[],
        attempts_total=0,
    )
    return msgspec.structs.replace(nothing, **changed)


def ended(status: str, problem: Problem | None = None) -> Job:
    return msgspec.structs.replace(queued(10), status=status, finished_at=START, error=problem)


BEHIND = [Queue(name="ingestor.load_chunk", service="ingestor", ahead=7)]
UNSENT = {"state": "unsent", "sent_at": None}
RETRYING = {"state": "retrying", "due_at": NOW + dt.timedelta(seconds=9), "problem": BAD}
CASES: dict[str, tuple[Job, OpenWork, str, str]] = {
    "behind others": (queued(10), work(message(), queues=BEHIND), "behind 7 others", "More replicas of the ingestor"),
    "first": (queued(10), work(message()), "at its head, or being handled", "check that the ingestor runs"),
    "unsent": (queued(10), work(message(**UNSENT, created_at=NOW)), "waits to be sent", "within a second"),
    "unsent for long": (queued(10), work(message(**UNSENT)), "waits to be sent", "Check that RabbitMQ runs"),
    "retrying": (queued(10), work(message(**RETRYING)), "waits for a retry until", "Fix the cause: ValueError: no."),
    "nothing open": (queued(10), work(), "none of its messages is open", "Wait for the gateway"),
    "being canceled": (queued(10), work(message(), stopping="requested"), "being canceled", "the ingestor runs"),
    "past its deadline": (queued(10), work(message(), stopping="deadline"), "being stopped", "about a second"),
    "succeeded": (ended("succeeded"), work(), "is succeeded.", "Nothing"),
    "partial": (ended("partial"), work(message()), "1 message about its rows are open", "replay"),
    "given up": (
        ended("failed", BAD),
        work(dead_letters_total=2),
        "2 messages that did not end",
        "Fix the cause, then POST",
    ),
    "rejected": (ended("failed", BAD), work(), "ValueError: no.", "See the log."),
    "canceled": (ended("canceled", CANCELED), work(), "Canceled on request.", "POST /v1/jobs/"),
}


@pytest.mark.parametrize("case", CASES)
def test_summary_and_advice_fit_the_state(case: str) -> None:
    job, open_work, summary, advised = CASES[case]
    assert summary in advice.summarize(job, open_work)
    assert advised in advice.advise(job, NOW, open_work)


def test_a_stopped_job_counts_what_is_loaded_and_can_be_reopened() -> None:
    running = msgspec.structs.replace(queued(10), status="running", chunks=3)
    loaded = LoadedChunks(Outcome(rows_read=4, inserted=4), 6, 9)
    canceled = progress.stop(running, CANCELED, loaded, NOW, canceled=True)
    assert (canceled.status, canceled.outcome.inserted, canceled.version, canceled.bytes_done) == ("canceled", 4, 9, 6)
    assert progress.stop(running, BAD, loaded, NOW, canceled=False).status == "failed"
    assert progress.stop(canceled, BAD, loaded, NOW, canceled=False) is canceled
    again = progress.reopen(canceled, NOW, phase="plan", seconds=60)
    assert (again.status, again.run, again.error, again.finished_at, again.phase) == ("running", 2, None, None, "load")
    assert again.deadline_at == NOW + dt.timedelta(seconds=60)
