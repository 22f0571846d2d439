"""The hiring datasets over HTTP, from files to reports."""

import csv
import io
from typing import Any

import pytest

from tests.acceptance import hiring_files
from tests.acceptance.import_files import failed_rows, get, imported
from tests.stack import Stack, empty

FILE = hiring_files.hired(seed=1, rows=3000, first_id=1)


@pytest.fixture(scope="module")
async def loaded(stack: Stack) -> dict[str, dict[str, Any]]:
    """The three files, imported into empty datasets; what became of each."""
    await empty(stack)
    return {
        "departments": await imported(stack, "departments", hiring_files.lines(hiring_files.DEPARTMENTS)),
        "jobs": await imported(stack, "jobs", hiring_files.lines(hiring_files.JOBS)),
        "hired_employees": await imported(stack, "hired_employees", FILE.text),
    }


async def test_good_rows_are_loaded_and_bad_ones_counted(loaded: dict[str, dict[str, Any]]) -> None:
    assert FILE.gaps
    assert loaded["departments"]["outcome"]["inserted"] == 12
    assert loaded["jobs"]["outcome"]["inserted"] == 183
    assert loaded["hired_employees"]["status"] == "partial"
    assert loaded["hired_employees"]["outcome"] == {
        "rows_read": 3000,
        "inserted": len(FILE.good),
        "updated": 0,
        "unchanged": 0,
        "duplicates": 0,
        "failed": len(FILE.gaps),
        "checked": 0,
        "deleted": 0,
    }


async def test_every_bad_row_has_its_line_and_its_reason(stack: Stack, loaded: dict[str, dict[str, Any]]) -> None:
    found = await failed_rows(stack, loaded["hired_employees"])
    assert {row["line"]: row["errors"][0]["column"] for row in found} == FILE.gaps
    assert {error["code"] for row in found for error in row["errors"]} == {"required"}


async def test_failed_rows_come_as_csv_with_the_original_columns(
    stack: Stack, loaded: dict[str, dict[str, Any]]
) -> None:
    links = loaded["hired_employees"]["links"]
    answer = await stack.client.get(links["failed_rows"], headers={"Accept": "application/json;q=0.1, text/*"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert list(rows[0]) == ["id", "name", "hired_at", "department_id", "job_id", "_line", "_errors"]
    assert {int(row["_line"]): row["_errors"].split(":")[0] for row in rows} == FILE.gaps
    assert all(row[FILE.gaps[int(row["_line"])]] == "" for row in rows)


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("year", [2021, 2022, 2019])
async def test_both_reports_equal_an_independent_count(stack: Stack, year: int) -> None:
    quarters = await get(stack, "/v1/reports/hires_by_quarter", year=year)
    assert quarters["data"] == hiring_files.by_quarter(FILE.good, year)
    assert quarters["columns"] == ["department", "job", "q1", "q2", "q3", "q4"]
    departments = await get(stack, "/v1/reports/departments_above_average", year=year)
    assert departments["data"] == hiring_files.above_average(FILE.good, year)


@pytest.mark.usefixtures("loaded")
async def test_a_report_comes_as_csv(stack: Stack) -> None:
    answer = await stack.client.get("/v1/reports/departments_above_average?year=2021&format=csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [int(row["hired"]) for row in rows] == [row["hired"] for row in hiring_files.above_average(FILE.good, 2021)]


@pytest.mark.usefixtures("loaded")
async def test_the_same_files_again_change_nothing_and_say_so(stack: Stack) -> None:
    before = await get(stack, "/v1/reports/hires_by_quarter", year=2021)
    again = await imported(stack, "hired_employees", FILE.text)
    assert again["outcome"]["unchanged"] == len(FILE.good)
    assert again["outcome"]["inserted"] == again["outcome"]["updated"] == 0
    assert (await imported(stack, "jobs", hiring_files.lines(hiring_files.JOBS)))["outcome"]["unchanged"] == 183
    assert (await get(stack, "/v1/reports/hires_by_quarter", year=2021))["data"] == before["data"]
    assert (await get(stack, "/v1/datasets/hired_employees/rows"))["total"] == len(FILE.good)


@pytest.mark.usefixtures("loaded")
async def test_rows_are_read_page_by_page_and_one_by_one(stack: Stack) -> None:
    seen = []
    for page in range(1, 8):
        answer = await get(stack, "/v1/datasets/hired_employees/rows", page=page, limit=500)
        assert (answer["page"], answer["limit"], answer["total"]) == (page, 500, len(FILE.good))
        seen += [row["id"] for row in answer["data"]]
    assert seen == [row[0] for row in FILE.good]
    number, name, moment, department, job = FILE.good[7]
    assert await get(stack, f"/v1/datasets/hired_employees/rows/{number},{moment}") == {
        "id": number,
        "name": name,
        "hired_at": moment,
        "department_id": department,
        "job_id": job,
    }


@pytest.mark.usefixtures("loaded")
async def test_a_loaded_row_is_found_by_its_words(stack: Stack) -> None:
    number = FILE.good[11][0]
    found = await get(stack, "/v1/datasets/hired_employees/search", q=f"person {number}")
    assert found["total"] == {"value": 1, "relation": "eq"}
    assert found["data"][0]["row"]["id"] == number


async def test_an_updated_row_moves_from_one_group_to_another(stack: Stack) -> None:
    first = "900001,Mover,2030-01-05T00:00:00Z,1,1\n"
    await imported(stack, "departments", hiring_files.lines(hiring_files.DEPARTMENTS))
    await imported(stack, "jobs", hiring_files.lines(hiring_files.JOBS))
    await imported(stack, "hired_employees", first)
    moved = await imported(stack, "hired_employees", first.replace(",1,1\n", ",2,5\n"))
    assert moved["outcome"]["updated"] == 1
    assert (await get(stack, "/v1/reports/hires_by_quarter", year=2030))["data"] == [
        {"department": "Department B", "job": "Job 005", "q1": 1, "q2": 0, "q3": 0, "q4": 0}
    ]
