"""GET /v1/reports and /v1/reports/{report}: what the rollups add up to."""

import asyncio
import datetime as dt
import hashlib
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter as QueryParameter

from services.gateway.http import auth, etags, preferences
from services.gateway.http.min_version import wait_for_version
from services.gateway.http.problems import Problem, responses
from services.gateway.http.responses import ENCODER, Answer, negotiate
from services.gateway.reports import drawing, parameters
from services.gateway.reports.cache import Kept, Rendered
from services.gateway.reports.formats import FORMS
from services.gateway.reports.freshness import Fresh, select_fresh
from services.gateway.reports.registry import RETRY_SECONDS, Ready, Reports, State
from services.gateway.reports.run import Outdated, compute
from shared.catalog.report import Parameter
from shared.catalog.report_files import Flaw
from shared.db import Pool

MEDIA_TYPES = {form.media_type: name for name, form in FORMS.items()} | {"application/ndjson": "ndjson"}


class ReportBody(msgspec.Struct, frozen=True, kw_only=True):
    """A declared report. A `ready` one can be asked for; `errors` tell what the others lack, and where in the file."""

    name: str
    title: str
    description: str
    state: State
    datasets: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    columns: tuple[str, ...]
    errors: tuple[Flaw, ...]
    link: str


class ReportBodies(msgspec.Struct, frozen=True):
    """By name."""

    data: list[ReportBody]


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """What a report shows: rows of `computed_at`, with everything up to these `versions` of the datasets it reads.

    `version` is that of the first dataset; `lag_versions` and `lag_seconds` tell how much is loaded and not shown,
    0 if nothing; `stale`: the version that was asked for was not reached in time.
    """

    computed_at: dt.datetime
    version: int
    versions: dict[str, int]
    lag_versions: int
    lag_seconds: float
    stale: bool


class Result(Freshness, frozen=True, kw_only=True):
    """The rows of a report in its order; if it is `truncated` there are more, beyond its row limit."""

    data: list[dict[str, Any]]
    columns: list[str]
    truncated: bool


@get("/v1/reports", tags=["reports"], summary="All reports", opt={"scope": "read"}, responses=responses())
async def list_reports(pool: Pool, reports: Reports) -> Answer[ReportBodies]:
    """As they stand, those that can't be computed too."""
    return Answer(
        ReportBodies(
            [
                ReportBody(
                    name=one.name,
                    title=one.report.title if one.report else "",
                    description=one.report.description if one.report else "",
                    state=one.state,
                    datasets=one.report.datasets if one.report else (),
                    parameters=one.report.parameters if one.report else (),
                    columns=one.columns,
                    errors=one.flaws,
                    link=f"/v1/reports/{one.name}",
                )
                for one in await reports.all(pool)
            ]
        )
    )


@get(
    "/v1/reports/{report:str}",
    tags=["reports"],
    summary="One report, as JSON, CSV or NDJSON, or drawn as SVG",
    description="Its parameters go into the query string: `/v1/reports/hires_by_quarter?year=2021&format=csv`. The"
    " `ETag` is that of the rows, whenever they were computed: `If-None-Match` is answered by 304 while they are the"
    " same. How fresh they are is told in the body of JSON, and in headers of every form.",
    opt={"scope": "read", "any_query": True},
    responses={
        **responses(404, 422, 503),
        200: ResponseSpec(data_container=Result, description="JSON, CSV, NDJSON or SVG"),
        304: ResponseSpec(data_container=None, description="The rows are those that the client has"),
    },
)
async def read_report(
    request: Request[Any, Any, Any],
    pool: Pool,
    reports: Reports,
    kept: Kept,
    stopping: asyncio.Event,
    report: str,
    form: Annotated[Literal["json", "csv", "ndjson", "svg"] | None, QueryParameter(query="format")] = None,
    min_version: Annotated[
        int | None, QueryParameter(ge=0, description="Of the first dataset, as a job has it: wait for it")
    ] = None,
    accept: Annotated[str | None, QueryParameter(header="Accept")] = None,
    prefer: Annotated[str | None, QueryParameter(header="Prefer", description="wait=N: for min_version")] = None,
    if_none_match: Annotated[str | None, QueryParameter(header=etags.HEADER)] = None,
) -> Response[Any]:
    """Computed in one snapshot, and kept for as long as it is right."""
    ready = await reports.ready(pool, report)
    ours = auth.query_parameters(request)
    values = parameters.read(ready.report, [one for one in request.query_params.multi_items() if one[0] not in ours])
    wanted = form or negotiate(accept, MEDIA_TYPES)
    seconds = preferences.wait_seconds(prefer)

    async def version() -> int:
        return (await _fresh(pool, ready)).versions[ready.report.datasets[0]]

    behind = f"{report} does not show version {min_version} of {ready.report.datasets[0]} yet."
    await wait_for_version(version, min_version, prefer, behind, stopping=stopping)
    try:
        found, fresh = await kept.find(
            (ready.digest, wanted, values), await _fresh(pool, ready), partial(_render, pool, ready, values, wanted)
        )
    except Outdated as error:
        reports.forget()
        detail = f"The tables that {report} reads are being changed: {error}."
        retry = {"Retry-After": str(RETRY_SECONDS)}
        raise Problem(503, "report_waiting", detail, hint="Ask again in a moment.", headers=retry) from error
    shown = fresh.versions[ready.report.datasets[0]]
    told = Freshness(
        computed_at=found.fresh.now,
        version=shown,
        versions=fresh.versions,
        lag_versions=fresh.lag_versions,
        lag_seconds=fresh.lag_seconds,
        stale=min_version is not None and shown < min_version,
    )
    headers = _headers(told, found.tag)
    if seconds is not None and min_version is not None and not told.stale:
        headers["Preference-Applied"] = f"wait={seconds}"
    if etags.matches(if_none_match, found.tag):
        return Response(b"", status_code=304, headers=headers)
    if wanted == "json":
        return Answer(found.body + ENCODER.encode(told)[1:], headers=headers)
    if wanted == "svg":
        # Whoever opens it by its address sees it, and nothing in it could reach out.
        headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
        image = drawing.noted(found.body, told.computed_at, told.version, told.lag_versions)
        return Response(image, media_type=drawing.MEDIA_TYPE, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="{report}.{wanted}"'
    return Response(found.body, media_type=FORMS[wanted].media_type, headers=headers)


async def _fresh(pool: Pool, ready: Ready) -> Fresh:
    async with pool.acquire() as db:
        return await select_fresh(db, ready.report.datasets, ready.reads)


async def _render(pool: Pool, ready: Ready, values: tuple[Any, ...], wanted: str) -> Rendered:
    """Raises Problem 422."""
    table, form = await compute(pool, ready, values), FORMS[wanted]
    if table.truncated and form.whole:
        raise Problem(
            422,
            "too_many_rows",
            f"{ready.report.name} has more than the {ready.report.row_limit} rows that it may have, and a file"
            " can't tell that some are missing.",
            hint="Ask for less by its parameters, or raise row_limit in its declaration; JSON has the first ones.",
        )
    body = await asyncio.to_thread(form.render, ready.report, table)  # meanwhile others are answered
    content = [ready.report.name.encode(), wanted.encode(), ENCODER.encode(values), body]
    digest = hashlib.sha256(b"\0".join(content)).hexdigest()[:32]
    # What is no file tells at its end how fresh it is, and that is another each time.
    tag = f'"{digest}"' if form.whole else f'W/"{digest}"'
    return Rendered(body=body, tag=tag, fresh=table.fresh)


def _headers(told: Freshness, tag: str) -> dict[str, str]:
    return {
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        "Vary": "Accept",
        "X-Dataset-Version": str(told.version),
        "Millrace-Computed-At": told.computed_at.isoformat().replace("+00:00", "Z"),
        "Millrace-Lag-Versions": str(told.lag_versions),
        "Millrace-Lag-Seconds": str(told.lag_seconds),
    }
