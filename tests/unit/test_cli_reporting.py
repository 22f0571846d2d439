"""The commands about reports: what they ask, what they show, what they end with."""

from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.app import main
from tests.unit.fake_gateway import JOB, Answer, Fake, events, job

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


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_a_report_tells_how_fresh_it_is(fake: Fake) -> None:
    fake.answers[STOCK] = [Answer(RESULT)]
    assert "1 rows, version 1,234, computed at 2024-05-06 07:08:09 UTC\n" in run("report", "stock").stdout
    fake.answers[STOCK] = [Answer({**RESULT, "truncated": True, "lag_versions": 3, "lag_seconds": 0.25})]
    shown = run("report", "stock").stdout
    assert "1 rows and more, version" in shown
    assert "; 3 versions behind, since 0.2 s" in shown


@pytest.mark.parametrize(
    ("options", "form"),
    [(["--csv"], "csv"), (["--format", "csv"], "csv"), (["--format", "ndjson"], "ndjson"), (["--json"], "json")],
)
def test_a_report_comes_in_other_forms_as_it_is(fake: Fake, options: list[str], form: str) -> None:
    fake.answers[STOCK] = [Answer(b'{"a": 1}\n')]
    assert '"a": 1' in run("report", "stock", "year=2021", *options).stdout
    assert fake.asked[0].path == f"{STOCK}?year=2021&format={form}"


def test_reports_are_listed_and_what_is_wrong_with_one_is_told(fake: Fake) -> None:
    flaw = {"file": "catalog/reports/b.toml", "line": 7, "column": 3, "detail": 'column "x" does not exist'}
    parameters = [
        {"name": "year", "type": "integer", "default": None},
        {"name": "top", "type": "integer", "default": 5},
    ]
    good = {"name": "a", "title": "A", "state": "ready", "parameters": parameters, "errors": []}
    bad = {"name": "b", "title": "B", "state": "broken", "parameters": [], "errors": [flaw, {**flaw, "column": None}]}
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


def test_a_refresh_is_followed_to_its_end(fake: Fake) -> None:
    end = ended("refresh", report="stock", result={"versions": {"items": 1234, "shops": 5}, "chunks": 2})
    fake.answers[f"{STOCK}/refreshes"] = [
        Answer({**end, "status": "queued", "finished_at": None, "result": None}, 202, {"Millrace-Attached": "true"})
    ]
    fake.answers[f"/v1/jobs/{JOB}/events"] = [events(end)]
    fake.answers[f"/v1/jobs/{JOB}"] = [Answer(end)]
    done = run("refresh", "stock")
    assert done.exit_code == 0, done.output
    assert "stock shows everything up to the versions items 1,234, shops 5; 2 chunks were counted.\n" in done.stdout
    assert "ROWS READ" not in done.stdout
    assert "no other was begun" in done.stderr
    assert done.stdout.splitlines()[1:] == run("jobs", JOB).stdout.splitlines()[1:]


@pytest.mark.parametrize(("mended", "said"), [(0, "all were right"), (7, "7 of them were wrong and are mended")])
def test_a_rebuild_tells_what_was_wrong(fake: Fake, mended: int, said: str) -> None:
    end = ended("rebuild", dataset="items", rollup="stock", result={"groups": 1234, "mended": mended})
    fake.answers["/v1/datasets/items/rollups/stock/rebuilds"] = [Answer(end)]
    fake.answers[f"/v1/jobs/{JOB}"] = [Answer(end)]
    done = run("rebuild", "items.stock")
    assert (done.exit_code, done.stdout.splitlines()[1]) == (0, f"items.stock has 1,234 groups; {said}.")


def test_what_goes_wrong_is_told_with_the_exit_code(fake: Fake) -> None:
    problem = {"code": "gave_up", "detail": "It took too long."}
    fake.answers[f"{STOCK}/refreshes"] = [Answer(ended("refresh", "failed", error=problem))]
    fake.answers[f"/v1/jobs/{JOB}"] = [Answer(ended("refresh", "failed", error=problem))]
    done = run("refresh", "stock")
    assert done.exit_code == 4
    assert "It took too long." in done.stdout
    assert run("rebuild", "items").exit_code == 2
    assert run("report", "stock", "year").exit_code == 2
