"""GET /v1/reports and /v1/reports/{report}: lists reports, and responds with their rows or charts."""

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
from services.gateway.reports.cache import RenderedReport, ReportCache
from services.gateway.reports.formats import FORMS
from services.gateway.reports.freshness import Freshness, select_freshness
from services.gateway.reports.registry import RETRY_SECONDS, ReadyReport, ReportRegistry, ReportState
from services.gateway.reports.run import TablesChanged, compute
from shared.catalog.report import Parameter
from shared.catalog.report_files import Flaw
from shared.db import Pool

MEDIA_TYPES = {form.media_type: name for name, form in FORMS.items()} | {"application/ndjson": "ndjson"}


class ReportBody(msgspec.Struct, frozen=True, kw_only=True):
    """A declared report. Only a `ready` one can be computed; `errors` explain why not, with places in the file."""

    name: str
    title: str
    description: str
    state: ReportState
    datasets: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    columns: tuple[str, ...]
    errors: tuple[Flaw, ...]
    link: str


class ReportBodies(msgspec.Struct, frozen=True):
    """All reports, sorted by name."""

    data: list[ReportBody]


class FreshnessBody(msgspec.Struct, frozen=True, kw_only=True):
    """The freshness of a report: its rows as of `computed_at`, which include these `versions` of its datasets.

    `version` is that of the first dataset. `lag_versions` and `lag_seconds` measure what is loaded but not included, 0
    if nothing. `stale` if the requested `min_version` was not reached in time.
    """

    computed_at: dt.datetime
    version: int
    versions: dict[str, int]
    lag_versions: int
    lag_seconds: float
    stale: bool


class Result(FreshnessBody, frozen=True, kw_only=True):
    """The rows of a report, in the order of its SQL; `truncated` if there are more than its row limit."""

    data: list[dict[str, Any]]
    columns: list[str]
    truncated: bool


@get("/v1/reports", tags=["reports"], summary="List all reports", opt={"scope": "read"}, responses=responses())
async def list_reports(pool: Pool, reports: ReportRegistry) -> Answer[ReportBodies]:
    """Returns all reports, also those that can't be computed."""
    return Answer(
        ReportBodies(
            [
                ReportBody(
                    name=status.name,
                    title=status.report.title if status.report else "",
                    description=status.report.description if status.report else "",
                    state=status.state,
                    datasets=status.report.datasets if status.report else (),
                    parameters=status.report.parameters if status.report else (),
                    columns=status.columns,
                    errors=status.flaws,
                    link=f"/v1/reports/{status.name}",
                )
                for status in await reports.all(pool)
            ]
        )
    )


@get(
    "/v1/reports/{report:str}",
    tags=["reports"],
    summary="Read one report as JSON, CSV, NDJSON or SVG",
    description="The query string has the report's parameters: `/v1/reports/hires_by_quarter?year=2021&format=csv`. The"
    " `ETag` depends on the rows only: with `If-None-Match` the response is 304 while they are the same. The freshness"
    " is in the headers, and for JSON also in the body.",
    opt={"scope": "read", "any_query": True},
    responses={
        **responses(404, 422, 503),
        200: ResponseSpec(data_container=Result, description="JSON, CSV, NDJSON or SVG"),
        304: ResponseSpec(data_container=None, description="The client has these rows"),
    },
)
async def read_report(
    request: Request[Any, Any, Any],
    pool: Pool,
    reports: ReportRegistry,
    report_cache: ReportCache,
    stopping: asyncio.Event,
    report: str,
    form: Annotated[Literal["json", "csv", "ndjson", "svg"] | None, QueryParameter(query="format")] = None,
    min_version: Annotated[
        int | None, QueryParameter(ge=0, description="`version` of a job that loaded the first dataset")
    ] = None,
    accept: Annotated[str | None, QueryParameter(header="Accept")] = None,
    prefer: Annotated[
        str | None, QueryParameter(header="Prefer", description="wait=N, in seconds, for min_version")
    ] = None,
    if_none_match: Annotated[str | None, QueryParameter(header=etags.HEADER)] = None,
) -> Response[Any]:
    """Computes the report in one snapshot, or takes it from the cache."""
    ready = await reports.ready(pool, report)
    reserved = auth.query_parameters(request)
    pairs = [(name, text) for name, text in request.query_params.multi_items() if name not in reserved]
    values = parameters.parse(ready.report, pairs)
    wanted = form or negotiate(accept, MEDIA_TYPES)
    seconds = preferences.wait_seconds(prefer)

    async def version() -> int:
        return (await _freshness(pool, ready)).versions[ready.report.datasets[0]]

    behind = f"{report} does not show version {min_version} of {ready.report.datasets[0]} yet."
    await wait_for_version(version, min_version, prefer, behind, stopping=stopping)
    try:
        rendered, freshness = await report_cache.get(
            (ready.digest, wanted, values), await _freshness(pool, ready), partial(_render, pool, ready, values, wanted)
        )
    except TablesChanged as error:
        reports.invalidate()
        detail = f"The tables that {report} reads are being changed: {error}."
        retry = {"Retry-After": str(RETRY_SECONDS)}
        raise Problem(503, "report_waiting", detail, hint="Retry in a moment.", headers=retry) from error
    shown_version = freshness.versions[ready.report.datasets[0]]
    freshness_body = FreshnessBody(
        computed_at=rendered.freshness.now,
        version=shown_version,
        versions=freshness.versions,
        lag_versions=freshness.lag_versions,
        lag_seconds=freshness.lag_seconds,
        stale=min_version is not None and shown_version < min_version,
    )
    headers = _headers(freshness_body, rendered.tag)
    if seconds is not None and min_version is not None and not freshness_body.stale:
        headers["Preference-Applied"] = f"wait={seconds}"
    if etags.matches(if_none_match, rendered.tag):
        return Response(b"", status_code=304, headers=headers)
    if wanted == "json":
        return Answer(rendered.body + ENCODER.encode(freshness_body)[1:], headers=headers)
    if wanted == "svg":
        # A browser that opens the URL shows the image and loads nothing else.
        headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
        image = drawing.add_note(
            rendered.body, freshness_body.computed_at, freshness_body.version, freshness_body.lag_versions
        )
        return Response(image, media_type=drawing.MEDIA_TYPE, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="{report}.{wanted}"'
    return Response(rendered.body, media_type=FORMS[wanted].media_type, headers=headers)


async def _freshness(pool: Pool, ready: ReadyReport) -> Freshness:
    async with pool.acquire() as db:
        return await select_freshness(db, ready.report.datasets, ready.reads)


async def _render(pool: Pool, ready: ReadyReport, values: tuple[Any, ...], wanted: str) -> RenderedReport:
    """Computes and renders the report. Raises Problem 422 if a file would lack rows."""
    table, form = await compute(pool, ready, values), FORMS[wanted]
    if table.truncated and form.whole:
        raise Problem(
            422,
            "too_many_rows",
            f"{ready.report.name} has more rows than its row_limit of {ready.report.row_limit}, and a file can't show"
            " that rows are missing.",
            hint="Select fewer rows with the parameters, or raise row_limit in the declaration; JSON has the first.",
        )
    body = await asyncio.to_thread(form.render, ready.report, table)  # rendering takes long
    content = [ready.report.name.encode(), wanted.encode(), ENCODER.encode(values), body]
    digest = hashlib.sha256(b"\0".join(content)).hexdigest()[:32]
    # JSON and SVG end with the freshness, which differs between responses with the same rows.
    tag = f'"{digest}"' if form.whole else f'W/"{digest}"'
    return RenderedReport(body=body, tag=tag, freshness=table.freshness)


def _headers(freshness: FreshnessBody, tag: str) -> dict[str, str]:
    return {
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        "Vary": "Accept",
        "X-Dataset-Version": str(freshness.version),
        "Millrace-Computed-At": freshness.computed_at.isoformat().replace("+00:00", "Z"),
        "Millrace-Lag-Versions": str(freshness.lag_versions),
        "Millrace-Lag-Seconds": str(freshness.lag_seconds),
    }
