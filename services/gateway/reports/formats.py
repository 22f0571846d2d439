"""The forms that a report comes in."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from services.gateway.http.formats import Csv, Ndjson
from services.gateway.http.responses import ENCODER
from services.gateway.reports import drawing
from services.gateway.reports.chart import plot
from services.gateway.reports.run import Table
from shared.catalog.report import Report

NOT_NUMBERS = (b"NaN", b"Infinity")


class Form(NamedTuple):
    """`whole`: a file, which says nothing about rows that are missing, so that none may be."""

    media_type: str
    whole: bool
    render: Callable[[Report, Table], bytes]


def _json(_report: Report, table: Table) -> bytes:
    """The beginning of an object, up to a comma: how fresh it is follows for each who asks."""
    body = _encoded(table, table.rows)
    if any(word in body for word in NOT_NUMBERS):
        body = _encoded(table, [[_finite(value) for value in row] for row in table.rows])
    truncated = b"true" if table.truncated else b"false"
    return b'{"data":%b,"columns":%b,"truncated":%b,' % (body, ENCODER.encode(table.columns), truncated)


def _csv(_report: Report, table: Table) -> bytes:
    """For people and their spreadsheets: no cell is a formula."""
    form = Csv(table.columns, spreadsheet_safe=True)
    return form.header() + form.encode(table.rows)


def _ndjson(_report: Report, table: Table) -> bytes:
    return Ndjson(table.columns).encode(table.rows)


def _svg(report: Report, table: Table) -> bytes:
    """An image up to its end, which tells how fresh it is."""
    asked = ", ".join(f"{one.name} {value}" for one, value in zip(report.parameters, table.values, strict=True))
    shown = plot(report.chart, table.columns, table.rows)
    limits = [f"the first {report.row_limit:,} rows"] if table.truncated else []
    limits += [shown.left_out] if shown.left_out else []
    title = f"{report.title} ({asked})" if asked else report.title
    return drawing.draw(shown, name=report.name, title=title, limits="; ".join(limits))


def _encoded(table: Table, rows: list[Any]) -> bytes:
    return ENCODER.encode([dict(zip(table.columns, row, strict=True)) for row in rows])


def _finite(value: Any) -> Any:
    """JSON knows no others."""
    return None if isinstance(value, Decimal) and not value.is_finite() else value


FORMS = {
    "json": Form("application/json", whole=False, render=_json),
    "csv": Form("text/csv", whole=True, render=_csv),
    "ndjson": Form("application/x-ndjson", whole=True, render=_ndjson),
    "svg": Form(drawing.MEDIA_TYPE, whole=False, render=_svg),
}
