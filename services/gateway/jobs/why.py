"""GET /v1/jobs/{id}/why: why a job is in its state, where its messages wait, and what to do."""

import datetime as dt
from uuid import UUID

import msgspec
from litestar import get

from services.gateway.http.problems import not_found, parse_job_id, responses
from services.gateway.http.responses import Answer
from services.gateway.jobs import advice, open_work, queries
from services.gateway.jobs.cancellations import Reason
from services.gateway.jobs.job import Job, Status
from services.gateway.jobs.open_work import SHOWN, OpenWork, Queue, WaitingMessage
from shared.bus.open_messages import Attempt, DeadLetter
from shared.contracts.parts import Problem
from shared.db import Pool


class Messages(msgspec.Struct, frozen=True, kw_only=True):
    """The open messages of a job: the oldest ones, and the number of all."""

    total: int
    data: list[WaitingMessage]


class DeadLetters(msgspec.Struct, frozen=True, kw_only=True):
    """The messages of a job that were given up or canceled: the latest ones, and the number of all."""

    total: int
    data: list[DeadLetter]


class Attempts(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts that did not succeed: the latest ones, and the number of all."""

    total: int
    data: list[Attempt]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job is in its state. `summary` says it in a sentence, and `next` says what to do."""

    job: UUID
    status: Status
    summary: str
    next: str
    stopping: Reason | None
    deadline_at: dt.datetime
    next_retry_at: dt.datetime | None
    last_error: Problem | None
    queues: list[Queue]
    messages: Messages
    dead_letters: DeadLetters
    attempts: Attempts


@get(
    "/v1/jobs/{job:str}/why",
    tags=["jobs"],
    summary="Why a job is in its state, and what to do",
    description="Lists the messages of the job that are open, where they wait and behind how many others, the next"
    " retry, failed attempts with worker, time and error, and what was given up. `summary` and `next` say it in words."
    f" Each list has at most {SHOWN} entries and the number of all.",
    opt={"scope": "read"},
    responses=responses(404),
)
async def explain_job(pool: Pool, job: str) -> Answer[Explanation]:
    """Reads job and ledger in one snapshot."""
    job_id = parse_job_id(job)
    async with pool.acquire() as db, db.transaction(isolation="repeatable_read", readonly=True):
        found = await queries.select_job(db, job_id)
        if found is None:
            raise not_found("job", job)
        work = await open_work.select_open_work(db, job_id)
    return Answer(explain(*found, work))


def explain(job: Job, now: dt.datetime, work: OpenWork) -> Explanation:
    """Returns the explanation of a job at `now`."""
    problems = [attempt.problem for attempt in work.attempts] + [letter.problem for letter in work.dead_letters]
    return Explanation(
        job=job.id,
        status=job.status,
        summary=advice.summarize(job, work),
        next=advice.advise(job, now, work),
        stopping=work.stopping,
        deadline_at=job.deadline_at,
        next_retry_at=min((message.due_at for message in work.messages if message.due_at), default=None),
        last_error=next((problem for problem in problems if problem), job.error),
        queues=work.queues,
        messages=Messages(total=work.messages_total, data=work.messages),
        dead_letters=DeadLetters(total=work.dead_letters_total, data=work.dead_letters),
        attempts=Attempts(total=work.attempts_total, data=work.attempts),
    )
