"""Responses with a job: 202 while it runs, 200 if it ended while the client waited."""

from collections.abc import Mapping

from litestar.openapi.datastructures import ResponseSpec

from services.gateway.http import preferences
from services.gateway.http.responses import Answer
from services.gateway.jobs.job import JobBody
from services.gateway.jobs.kinds import to_body
from services.gateway.jobs.submit import JobSubmitter, Submission

RETRY_SECONDS = 1


def applied_preference(seconds: int | None, job: JobBody) -> dict[str, str]:
    """Returns the header that confirms `Prefer: wait=N`, if the job ended in time."""
    return {"Preference-Applied": f"wait={seconds}"} if seconds is not None and job.ended else {}


def job_responses(body: type[JobBody]) -> dict[int, ResponseSpec]:
    """Returns the OpenAPI descriptions of the responses that `respond` sends."""
    return {
        202: ResponseSpec(data_container=body, description="The job, still running"),
        200: ResponseSpec(data_container=body, description="The finished job"),
    }


def answer(job: JobBody, headers: Mapping[str, str]) -> Answer[JobBody]:
    """Returns the response with a job: 200 if it has ended, else 202 with the time to ask again."""
    headers = {"Location": f"/v1/jobs/{job.id}", **headers}
    if job.ended:
        return Answer(job, status_code=200, headers=headers)
    return Answer(job, status_code=202, headers={**headers, "Retry-After": str(RETRY_SECONDS)})


async def respond(submitter: JobSubmitter, submission: Submission, prefer: str | None) -> Answer[JobBody]:
    """Returns the response to a submission, after waiting for the job's end if the client prefers that."""
    seconds = preferences.wait_seconds(prefer)
    earlier = submission.replayed or submission.attached
    job = None if earlier else to_body(submission.job, submission.job.created_at)
    job = await submitter.waiters.wait(submission.job.id, seconds or 0, job)
    headers = applied_preference(seconds, job)
    if submission.replayed:
        headers["Idempotency-Replayed"] = "true"
    if submission.attached:
        headers["Millrace-Attached"] = "true"
    return answer(job, headers)
