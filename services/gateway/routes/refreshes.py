"""POST /v1/reports/{report}/refreshes: a report as fresh as what is loaded, now."""

import asyncio
from typing import Annotated, Any

from litestar import Request, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from services.gateway import attaching, preferences
from services.gateway.accepting import Accepting, uuid7
from services.gateway.answers import Answer
from services.gateway.job import JobBody, RefreshJobBody
from services.gateway.problems import responses
from services.gateway.reports import Reports
from shared.contracts.commands import RefreshReport
from shared.db import Pool


@post(
    "/v1/reports/{report:str}/refreshes",
    tags=["reports"],
    summary="Bring a report up to what is loaded",
    description="As a job: when it has succeeded, the report shows everything that was loaded when it was asked for."
    " Reports follow by themselves within moments; this is for those who must be sure. While a refresh of the report is"
    " under way no other begins: the answer is that job, with `Millrace-Attached: true`. `Prefer: wait=N` waits for the"
    " job to end; with an `Idempotency-Key` the same request can be sent again safely.",
    opt={"scope": "write"},
    status_code=202,
    responses={
        **responses(404, 422, 503),
        202: ResponseSpec(data_container=RefreshJobBody, description="The job, under way"),
        200: ResponseSpec(data_container=RefreshJobBody, description="The job, ended"),
    },
)
async def refresh_report(
    request: Request[Any, Any, Any],
    report: str,
    pool: Pool,
    accepting: Accepting,
    reports: Reports,
    stopping: asyncio.Event,
    prefer: Annotated[str | None, Parameter(header="Prefer", description="wait=N, in seconds")] = None,
    idempotency_key: Annotated[str | None, Parameter(header="Idempotency-Key", min_length=1, max_length=255)] = None,
) -> Answer[JobBody]:
    """The job that begins, or the one under way."""
    datasets = (await reports.ready(pool, report)).report.datasets
    command = RefreshReport(dataset=datasets[0], job_id=uuid7(), report=report, datasets=datasets)
    asked = attaching.to_asked("refresh", command, report, api_key=request.user.id, idempotency_key=idempotency_key)
    return await preferences.accepted(pool, stopping, await accepting.accept(asked), prefer)
