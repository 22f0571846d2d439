"""Responses with a job: 202 while it runs, 200 if it ended while the client waited."""

import asyncio
import datetime as dt
from collections.abc import Mapping
from uuid import UUID

from litestar.openapi.datastructures import ResponseSpec

from services.gateway.http import preferences
from services.gateway.http.polling import poll
from services.gateway.http.problems import not_found
from services.gateway.http.responses import Answer
from services.gateway.jobs import queries
from services.gateway.jobs.job import Job, JobBody
from services.gateway.jobs.kinds import to_body
from services.gateway.jobs.submit import JobSubmitter, Submission
from shared.db import Pool

RETRY_SECONDS = 1


async def wait(pool: Pool, stopping: asyncio.Event, job_id: UUID, seconds: int | None) -> tuple[Job, dt.datetime]:
    """Returns the job once it has ended or the time is up, and the database's time. Raises Problem 404."""

    async def look() -> tuple[Job, dt.datetime]:
        async with pool.acquire() as db:
            found = await queries.select_job(db, job_id)
        if found is None:
            raise not_found("job", str(job_id))
        return found

    return await poll(look, lambda found: found[0].ended, seconds=seconds or 0, stopping=stopping)


def applied_preference(seconds: int | None, job: Job) -> dict[str, str]:
    """Returns the header that confirms `Prefer: wait=N`, if the job ended in time."""
    return {"Preference-Applied": f"wait={seconds}"} if seconds is not None and job.ended else {}


def job_responses(body: type[JobBody]) -> dict[int, ResponseSpec]:
    """Returns the OpenAPI descriptions of the responses that `respond` sends."""
    return {
        202: ResponseSpec(data_container=body, description="The job, still running"),
        200: ResponseSpec(data_container=body, description="The finished job"),
    }


def answer(job: Job, now: dt.datetime, headers: Mapping[str, str]) -> Answer[JobBody]:
    """Returns the response with a job at `now`: 200 if it has ended, else 202 with the time to ask again."""
    headers = {"Location": f"/v1/jobs/{job.id}", **headers}
    if job.ended:
        return Answer(to_body(job, now), status_code=200, headers=headers)
    return Answer(to_body(job, now), status_code=202, headers={**headers, "Retry-After": str(RETRY_SECONDS)})


async def respond(submitter: JobSubmitter, submission: Submission, prefer: str | None) -> Answer[JobBody]:
    """Returns the response to a submission, after waiting for the job's end if the client prefers that."""
    seconds = preferences.wait_seconds(prefer)
    job, now = submission.job, submission.job.created_at
    if seconds is not None or submission.replayed or submission.attached:
        job, now = await wait(submitter.pool, submitter.stopping, job.id, seconds)
    headers = applied_preference(seconds, job)
    if submission.replayed:
        headers["Idempotency-Replayed"] = "true"
    if submission.attached:
        headers["Millrace-Attached"] = "true"
    return answer(job, now, headers)
