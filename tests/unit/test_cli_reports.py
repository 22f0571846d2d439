"""`millrace reports`, `report`, `refresh` and `rebuild`: requests, output, exit codes."""

from typing import Any

import pytest

from tests.unit.fake_gateway import JOB, Answer, FakeGateway, events, job, run

RESULT = {
    "data": [{"kind": "rye", "sum": 1}],
    "columns": ["kind", "sum"],
    "computed_at": "2024-05-06T07:08:09Z",
    "version": 1234,
    "lag_versions": 0,
    "lag_seconds": 0.0,
    "truncated": False,
}
STOCK = "/v1/reports/stock"


def test_report_shows_its_freshness(fake: FakeGateway) -> None:
    fake.answers[STOCK] = [Answer(RESULT)]
    assert "1 rows, version 1,234, computed at 2024-05-06 07:08:09 UTC\n" in run("report", "stock").stdout
    fake.answers[STOCK] = [Answer({**RESULT, "truncated": True, "lag_versions": 3, "lag_seconds": 0.25})]
    shown = run("report", "stock").stdout
    assert "1 rows (truncated), version" in shown
    assert "; 3 versions behind, for 0.2 s" in shown


@pytest.mark.parametrize(
    ("options", "form"),
    [(["--csv"], "csv"), (["--format", "csv"], "csv"), (["--format", "ndjson"], "ndjson"), (["--json"], "json")],
)
def test_report_in_other_formats(fake: FakeGateway, options: list[str], form: str) -> None:
    fake.answers[STOCK] = [Answer(b'{"a": 1}\n')]
    assert '"a": 1' in run("report", "stock", "year=2021", *options).stdout
    assert fake.requests[0].path == f"{STOCK}?year=2021&format={form}"


def test_reports_are_listed_with_their_errors(fake: FakeGateway) -> None:
    error = {"file": "catalog/reports/b.toml", "line": 7, "column": 3, "detail": 'column "x" does not exist'}
    parameters = [
        {"name": "year", "type": "integer", "default": None},
        {"name": "top", "type": "integer", "default": 5},
    ]
    good = {"name": "a", "title": "A", "state": "ready", "parameters": parameters, "errors": []}
    bad = {"name": "b", "title": "B", "state": "broken", "parameters": [], "errors": [error, {**error, "column": None}]}
    fake.answers["/v1/reports"] = [Answer({"data": [good, bad]})]
    done = run("reports")
    assert done.exit_code == 0
    assert "year=integer [top=5]" in done.stdout
    assert done.stderr.splitlines() == [
        'broken catalog/reports/b.toml:7:3: column "x" does not exist',
        'broken catalog/reports/b.toml:7: column "x" does not exist',
    ]


def ended(kind: str, status: str = "succeeded", **about: Any) -> dict[str, Any]:
    return {**job(status), "kind": kind, **about}


def test_a_refresh_is_followed_to_its_end(fake: FakeGateway) -> None:
    end = ended("refresh", report="stock", result={"versions": {"items": 1234, "shops": 5}, "chunks": 2})
    fake.answers[f"{STOCK}/refreshes"] = [
        Answer({**end, "status": "queued", "finished_at": None, "result": None}, 202, {"Millrace-Attached": "true"})
    ]
    fake.answers[f"/v1/jobs/{JOB}/events"] = [events(end)]
    fake.answers[f"/v1/jobs/{JOB}"] = [Answer(end)]
    done = run("refresh", "stock")
    assert done.exit_code == 0, done.output
    assert "stock includes everything up to versions items 1,234, shops 5; chunks counted: 2.\n" in done.stdout
    assert "ROWS READ" not in done.stdout
    assert "already running" in done.stderr
    assert done.stdout.splitlines()[1:] == run("jobs", JOB).stdout.splitlines()[1:]


@pytest.mark.parametrize(("mended", "message"), [(0, "all were correct"), (7, "7 were wrong and have been corrected")])
def test_rebuild_shows_the_number_of_corrections(fake: FakeGateway, mended: int, message: str) -> None:
    end = ended("rebuild", dataset="items", rollup="stock", result={"groups": 1234, "mended": mended})
    fake.answers["/v1/datasets/items/rollups/stock/rebuilds"] = [Answer(end)]
    fake.answers[f"/v1/jobs/{JOB}"] = [Answer(end)]
    done = run("rebuild", "items.stock")
    assert (done.exit_code, done.stdout.splitlines()[1]) == (0, f"items.stock has 1,234 groups; {message}.")


def test_failure_is_shown_with_exit_code_4(fake: FakeGateway) -> None:
    problem = {"code": "gave_up", "detail": "It took too long."}
    fake.answers[f"{STOCK}/refreshes"] = [Answer(ended("refresh", "failed", error=problem))]
    fake.answers[f"/v1/jobs/{JOB}"] = [Answer(ended("refresh", "failed", error=problem))]
    done = run("refresh", "stock")
    assert done.exit_code == 4
    assert "It took too long." in done.stdout
    assert run("rebuild", "items").exit_code == 2
    assert run("report", "stock", "year").exit_code == 2


def test_report_keeps_numbers_exact(fake: FakeGateway) -> None:
    fake.answers["/v1/reports/stock"] = [
        Answer(b'{"data":[{"kind":"rye","sum":1.10}],"columns":["kind","sum"],"computed_at":"2024-05-06T07:08:09Z"}')
    ]
    assert "rye   1.10\n" in run("report", "stock", "year=2021").stdout
    assert fake.requests[0].path == "/v1/reports/stock?year=2021&format=json"
    assert run("report", "stock", "year").exit_code == 2
