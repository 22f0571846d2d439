"""GET /v1/reports and /v1/reports/{report}: what the rollups add up to."""

import datetime as dt
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter as QueryParameter

from services.gateway import rows
from services.gateway.answers import Answer, CsvAnswer, wants_csv
from services.gateway.catalog import Catalog
from services.gateway.problems import Detail, Problem, responses
from shared.catalog.report import Parameter, Report
from shared.db import Pool

CONVERTED: dict[str, Any] = {"integer": int, "string": str, "date": dt.date}


class ReportBody(msgspec.Struct, frozen=True):
    """A report that can be asked for."""

    name: str
    title: str
    description: str
    parameters: tuple[Parameter, ...]
    link: str


class Reports(msgspec.Struct, frozen=True):
    """By name."""

    data: list[ReportBody]


class Result(msgspec.Struct, frozen=True):
    """Rows of a report as of `computed_at`; `version` is that of its first dataset, `versions` of all it reads."""

    data: list[dict[str, Any]]
    columns: list[str]
    computed_at: dt.datetime
    version: int
    versions: dict[str, int]


@get("/v1/reports", tags=["reports"], summary="All reports", opt={"scope": "read"}, responses=responses())
async def list_reports(catalog: Catalog) -> Answer[Reports]:
    """With their parameters."""
    return Answer(
        Reports(
            [
                ReportBody(
                    report.name, report.title, report.description, report.parameters, f"/v1/reports/{report.name}"
                )
                for report in catalog.reports.values()
            ]
        )
    )


@get(
    "/v1/reports/{report:str}",
    tags=["reports"],
    summary="One report, as JSON or CSV",
    description="Its parameters go into the query string: `/v1/reports/hires_by_quarter?year=2021&format=csv`.",
    opt={"scope": "read", "any_query": True},
    responses={**responses(404, 422), 200: ResponseSpec(data_container=Result, description="JSON or CSV")},
)
async def read_report(
    request: Request[Any, Any, Any],
    pool: Pool,
    catalog: Catalog,
    report: str,
    form: Annotated[Literal["json", "csv"] | None, QueryParameter(query="format")] = None,
    accept: Annotated[str | None, QueryParameter(header="Accept")] = None,
) -> Response[Any]:
    """Computed from the rollups in one snapshot."""
    declared = catalog.report(report)
    given = {name: value for name, value in request.query_params.items() if name != "format"}
    values = _values(declared, given)
    async with pool.acquire() as db:
        columns, data, versions, now = await rows.select_report(db, declared, values)
    if wants_csv(accept, form):
        return CsvAnswer(report, columns, [[row[name] for name in columns] for row in data], {})
    return Answer(Result(data, columns, now, versions.get(declared.datasets[0], 0), versions))


def _values(report: Report, given: dict[str, str]) -> list[Any]:
    """In the order of the declared parameters. Raises Problem 422 that tells of all that is wrong."""
    known = {parameter.name for parameter in report.parameters}
    wrong = [
        Detail(code="unknown_parameter", column=name, detail=f"{name!r} is not a parameter of this report.")
        for name in given
        if name not in known
    ]
    values = []
    for parameter in report.parameters:
        text = given.get(parameter.name)
        if text is None:
            wrong.append(Detail(code="missing_parameter", column=parameter.name, detail=f"{parameter.name} is needed."))
            continue
        try:
            value = msgspec.convert(text, CONVERTED[parameter.type], strict=False)
        except msgspec.ValidationError:
            detail = f"{parameter.name} must be of type {parameter.type}, not {text!r}."
            wrong.append(Detail(code="type", column=parameter.name, detail=detail))
            continue
        least, most = parameter.minimum, parameter.maximum
        if isinstance(value, int) and ((least is not None and value < least) or (most is not None and value > most)):
            detail = f"{parameter.name} must be from {least} to {most}, not {value}."
            wrong.append(Detail(code="range", column=parameter.name, detail=detail))
        values.append(value)
    if wrong:
        raise Problem(
            422,
            "invalid_parameters",
            f"The report can't be computed with these parameters; look at {', '.join(e.column for e in wrong)}.",
            hint=f"Parameters: {', '.join(f'{p.name} ({p.type})' for p in report.parameters) or 'none'}.",
            errors=wrong,
        )
    return values
