"""POST /v1/jobs/{id}/cancel: stops a job."""

from litestar import post
from litestar.openapi.datastructures import ResponseSpec

from services.gateway.http import preferences
from services.gateway.http.parameters import Prefer
from services.gateway.http.problems import Problem, not_found, parse_job_id, responses
from services.gateway.http.responses import Answer
from services.gateway.jobs import cancellations, queries
from services.gateway.jobs.job import JobBody
from services.gateway.jobs.respond import answer, applied_preference
from services.gateway.jobs.waiters import JobWaiters
from shared.db import Pool, transaction

WAIT_SECONDS = 5


@post(
    "/v1/jobs/{job:str}/cancel",
    tags=["jobs"],
    summary="Cancel a job",
    description="Stops the job, wherever its work is. What waits is not done, what runs is rolled back, and rows that"
    " are loaded stay: `outcome` counts them and `error` says so. Responds 200 when the job is `canceled`, which takes"
    f" about a second, or 202 after {WAIT_SECONDS} seconds; `Prefer: wait=N` waits longer. Repeating the request is"
    " safe. `POST /v1/jobs/{id}/retry` does the rest later.",
    opt={"scope": "write"},
    status_code=202,
    responses={
        **responses(404, 409),
        200: ResponseSpec(data_container=JobBody, description="The canceled job"),
    },
)
async def cancel_job(pool: Pool, waiters: JobWaiters, job: str, prefer: Prefer = None) -> Answer[JobBody]:
    """Records the request, which no queue can delay, and waits for the end of the job."""
    job_id = parse_job_id(job)
    async with transaction(pool) as db:
        found = await queries.lock_job(db, job_id)
        if found is None:
            raise not_found("job", job)
        if not found[0].ended:
            await cancellations.insert_cancellation(db, job_id)
    seconds = preferences.wait_seconds(prefer)
    current = await waiters.wait(job_id, WAIT_SECONDS if seconds is None else seconds)
    if current.ended and current.status != "canceled":
        detail = f"Job {job_id} has ended already: it is {current.status}."
        hint = "What it has loaded stays." if current.outcome.rows_read else ""
        raise Problem(409, "already_ended", detail, hint=hint)
    return answer(current, applied_preference(seconds, current))
