"""The formats of a report: JSON, CSV, NDJSON and SVG."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from services.gateway.http.formats import Csv, Ndjson
from services.gateway.http.responses import ENCODER
from services.gateway.reports import drawing
from services.gateway.reports.chart import plot
from services.gateway.reports.run import ReportTable
from shared.catalog.report import Report

NOT_NUMBERS = (b"NaN", b"Infinity")


class Form(NamedTuple):
    """A format. `whole` formats can't show that rows are missing, so truncated reports are refused."""

    media_type: str
    whole: bool
    render: Callable[[Report, ReportTable], bytes]


def _json(_report: Report, table: ReportTable) -> bytes:
    """Returns the beginning of an object, up to a comma: each response appends its freshness."""
    body = _encode(table, table.rows)
    if any(word in body for word in NOT_NUMBERS):
        body = _encode(table, [[_finite(value) for value in row] for row in table.rows])
    truncated = b"true" if table.truncated else b"false"
    return b'{"data":%b,"columns":%b,"truncated":%b,' % (body, ENCODER.encode(table.columns), truncated)


def _csv(_report: Report, table: ReportTable) -> bytes:
    """Writes no formulas: spreadsheets would run them."""
    form = Csv(table.columns, spreadsheet_safe=True)
    return form.header() + form.encode(table.rows)


def _ndjson(_report: Report, table: ReportTable) -> bytes:
    return Ndjson(table.columns).encode(table.rows)


def _svg(report: Report, table: ReportTable) -> bytes:
    """Returns an image without its end tag: each response appends its freshness."""
    parameters = ", ".join(
        f"{parameter.name} {value}" for parameter, value in zip(report.parameters, table.values, strict=True)
    )
    chart = plot(report.chart, table.columns, table.rows)
    limits = [f"the first {report.row_limit:,} rows"] if table.truncated else []
    limits += [chart.left_out] if chart.left_out else []
    title = f"{report.title} ({parameters})" if parameters else report.title
    return drawing.draw(chart, name=report.name, title=title, limits="; ".join(limits))


def _encode(table: ReportTable, rows: list[Any]) -> bytes:
    return ENCODER.encode([dict(zip(table.columns, row, strict=True)) for row in rows])


def _finite(value: Any) -> Any:
    """Returns None for a decimal that is not finite, which JSON does not have."""
    return None if isinstance(value, Decimal) and not value.is_finite() else value


FORMS = {
    "json": Form("application/json", whole=False, render=_json),
    "csv": Form("text/csv", whole=True, render=_csv),
    "ndjson": Form("application/x-ndjson", whole=True, render=_ndjson),
    "svg": Form(drawing.MEDIA_TYPE, whole=False, render=_svg),
}
