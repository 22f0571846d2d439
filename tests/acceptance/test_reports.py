"""Reports over HTTP: formats, freshness, parameters, refreshes and rebuilds."""

import asyncio
import csv
import io
import json
from typing import Any

import asyncpg
import pytest

from shared.catalog.report import RESERVED
from tests.acceptance import hiring_files
from tests.acceptance.import_files import get, imported
from tests.stack import Stack, empty
from tests.waiting import eventually

YEARS = (1999, 2021, 2022)
FILE = hiring_files.hired(seed=5, rows=800, first_id=500_000, years=YEARS)
QUARTERS = "/v1/reports/hires_by_quarter"
ABOVE = "/v1/reports/departments_above_average"
FRESHNESS = ("computed_at", "version", "versions", "lag_versions", "lag_seconds", "stale")
SECONDS = 20.0


@pytest.fixture(scope="module")
async def loaded(stack: Stack) -> dict[str, Any]:
    """The hiring files; what became of the last of them."""
    await empty(stack)
    await imported(stack, "departments", hiring_files.lines(hiring_files.DEPARTMENTS))
    await imported(stack, "jobs", hiring_files.lines(hiring_files.JOBS))
    return await imported(stack, "hired_employees", FILE.text)


async def refresh(stack: Stack, report: str, *, key: str = "") -> Any:
    headers = {"Prefer": "wait=30", **({"Idempotency-Key": key} if key else {})}
    return await stack.client.post(f"/v1/reports/{report}/refreshes", headers=headers)


async def test_reports_are_listed_with_their_state(stack: Stack) -> None:
    found = {one["name"]: one for one in (await get(stack, "/v1/reports"))["data"]}
    assert {name: (one["state"], one["errors"]) for name, one in found.items()} == dict.fromkeys(found, ("ready", []))
    assert found["hires_by_quarter"]["columns"] == ["department", "job", "q1", "q2", "q3", "q4"]
    assert found["hires_by_quarter"]["parameters"][0]["name"] == "year"


async def test_no_parameter_of_a_report_can_be_called_like_one_of_the_route(stack: Stack) -> None:
    route = (await get(stack, "/openapi.json"))["paths"]["/v1/reports/{report}"]["get"]
    assert {one["name"] for one in route["parameters"] if one["in"] == "query"} == set(RESERVED)


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("year", [*YEARS, 1998, 2000, 1900, 2200])
async def test_every_year_is_as_counted_by_hand_and_one_without_data_is_empty(stack: Stack, year: int) -> None:
    quarters = await get(stack, QUARTERS, year=year)
    assert quarters["data"] == hiring_files.by_quarter(FILE.good, year)
    above = await get(stack, ABOVE, year=year)
    assert above["data"] == hiring_files.above_average(FILE.good, year)
    assert bool(quarters["data"]) == bool(above["data"]) == (year in YEARS)
    assert quarters["columns"] == ["department", "job", "q1", "q2", "q3", "q4"]


async def test_an_answer_says_how_fresh_it_is(stack: Stack, loaded: dict[str, Any]) -> None:
    answer = await stack.client.get(QUARTERS, params={"year": 2021})
    body = answer.json()
    assert list(body) == ["data", "columns", "truncated", *FRESHNESS]
    assert body["version"] == body["versions"]["hired_employees"] >= loaded["version"]
    assert set(body["versions"]) == {"hired_employees", "departments", "jobs"}
    assert (body["lag_versions"], body["lag_seconds"], body["stale"], body["truncated"]) == (0, 0, False, False)
    assert answer.headers["x-dataset-version"] == str(body["version"])
    assert answer.headers["millrace-computed-at"] == body["computed_at"]
    assert (answer.headers["millrace-lag-versions"], answer.headers["millrace-lag-seconds"]) == ("0", "0.0")


@pytest.mark.usefixtures("loaded")
async def test_json_csv_and_ndjson_say_the_same(stack: Stack) -> None:
    rows = (await get(stack, QUARTERS, year=2021))["data"]
    for query, accept in (
        ("&format=csv", "*/*"),
        ("", "application/json;q=0.5, text/csv"),
        ("&format=csv", "application/json"),
    ):
        answer = await stack.client.get(f"{QUARTERS}?year=2021{query}", headers={"Accept": accept})
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.headers["content-disposition"] == 'attachment; filename="hires_by_quarter.csv"'
        read = list(csv.DictReader(io.StringIO(answer.text)))
        assert read == [{name: str(value) for name, value in row.items()} for row in rows]
    answer = await stack.client.get(QUARTERS, params={"year": 2021, "format": "ndjson"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in answer.text.splitlines()] == rows
    assert (await stack.client.get(f"{QUARTERS}?year=2021&format=xml")).status_code == 422


@pytest.mark.usefixtures("loaded")
async def test_what_a_client_has_already_is_not_sent_again(stack: Stack) -> None:
    tags = set()
    for form, weak in (("json", True), ("csv", False), ("ndjson", False)):
        for year in (2021, 2022):
            parameters = {"year": year, "format": form}
            first = await stack.client.get(QUARTERS, params=parameters)
            tag = first.headers["etag"]
            assert tag.startswith("W/") == weak
            tags.add(tag)
            again = await stack.client.get(QUARTERS, params=parameters, headers={"If-None-Match": tag})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
            assert again.headers["x-dataset-version"] == first.headers["x-dataset-version"]
            other = await stack.client.get(QUARTERS, params=parameters, headers={"If-None-Match": '"other"'})
            assert other.status_code == 200
    assert len(tags) == 6


@pytest.mark.usefixtures("loaded")
async def test_a_tag_outlives_versions_that_change_nothing_and_no_others(stack: Stack) -> None:
    async def tagged(year: int) -> tuple[str, int]:
        answer = await stack.client.get(QUARTERS, params={"year": year})
        return answer.headers["etag"], answer.json()["version"]

    kept, before = await tagged(2021)
    changed, _ = await tagged(1999)
    number, name, *_ = next(row for row in FILE.good if row[2].startswith("1999"))
    job = await imported(stack, "hired_employees", f'{number + 9_000_000},"{name}",1999-05-05T00:00:00Z,1,1\n')
    for year in (2021, 1999):
        await get(stack, QUARTERS, year=year, min_version=job["version"])
    assert (await tagged(2021))[0] == kept
    assert (await tagged(2021))[1] > before
    assert (await tagged(1999))[0] != changed


@pytest.mark.parametrize(
    ("query", "codes"),
    [
        ("", {"missing_parameter": "year"}),
        ("year=abc", {"type": "year"}),
        ("year=2021.5", {"type": "year"}),
        ("year=99999", {"range": "year"}),
        ("year=1899", {"range": "year"}),
        ("year=abc&yeer=1", {"type": "year", "unknown_parameter": "yeer"}),
        ("year=2021&year=2022", {"twice": "year"}),
    ],
)
async def test_all_that_is_wrong_with_parameters_is_reported(stack: Stack, query: str, codes: dict[str, str]) -> None:
    answer = await stack.client.get(f"{QUARTERS}?{query}")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid_parameters")
    assert {error["code"]: error["column"] for error in problem["errors"]} == codes
    assert problem["hint"] == "Parameters: year (integer)."


async def test_what_a_job_has_loaded_is_shown_to_who_asks_for_its_version(stack: Stack) -> None:
    for round_ in range(5):
        row = f"{800_000 + round_},Reader,2101-01-05T00:00:00Z,1,1\n"
        answer = await stack.client.post(
            "/v1/datasets/hired_employees/imports",
            content=row.encode(),
            headers={"Content-Type": "text/csv", "Prefer": "wait=30"},
        )
        parameters = {"year": 2101, "min_version": answer.json()["version"]}
        found = await stack.client.get(QUARTERS, params=parameters, headers={"Prefer": "wait=10"})
        assert found.headers["preference-applied"] == "wait=10"
        assert (found.json()["stale"], found.json()["data"][0]["q1"]) == (False, round_ + 1)


@pytest.mark.usefixtures("loaded")
async def test_a_version_that_is_not_reached_in_time_is_reported(stack: Stack) -> None:
    parameters = {"year": 2021, "min_version": 10**9}
    lenient = await stack.client.get(QUARTERS, params=parameters)
    assert (lenient.status_code, lenient.json()["stale"]) == (200, True)
    assert "preference-applied" not in lenient.headers
    strict = await stack.client.get(QUARTERS, params=parameters, headers={"Prefer": "handling=strict"})
    assert (strict.status_code, strict.json()["code"], strict.headers["retry-after"]) == (503, "stale", "1")


@pytest.mark.usefixtures("loaded")
async def test_many_requests_while_rows_come_never_see_less_than_their_version(stack: Stack) -> None:
    """Each answer holds as many hires as its version says, whether it was kept or computed."""
    year, seen = 2102, dict[int, set[int]]()
    done = asyncio.Event()

    async def ask() -> None:
        while not done.is_set():
            body = await get(stack, QUARTERS, year=year)
            seen.setdefault(body["version"], set()).add(sum(row["q1"] for row in body["data"]))

    askers = [asyncio.create_task(ask()) for _ in range(4)]
    loaded = {}
    for number in range(8):
        job = await imported(stack, "hired_employees", f"{850_000 + number},Grace,{year}-02-01T00:00:00Z,1,1\n")
        loaded[job["version"]] = number + 1
    done.set()
    await asyncio.gather(*askers)
    for version, counts in seen.items():
        least = max((number for at, number in loaded.items() if at <= version), default=0)
        assert min(counts) >= least, (version, counts)
    body = await get(stack, QUARTERS, year=year, min_version=max(loaded))
    assert sum(row["q1"] for row in body["data"]) == 8


async def test_a_refresh_is_a_job(stack: Stack, loaded: dict[str, Any]) -> None:
    answer = await refresh(stack, "hires_by_quarter", key="refresh-1")
    job = answer.json()
    assert (answer.status_code, job["kind"], job["status"], job["report"]) == (
        200,
        "refresh",
        "succeeded",
        "hires_by_quarter",
    )
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert job["result"]["versions"]["hired_employees"] >= loaded["version"]
    assert await get(stack, f"/v1/jobs/{job['id']}") == job
    again = await refresh(stack, "hires_by_quarter", key="refresh-1")
    assert (again.json()["id"], again.headers["idempotency-replayed"]) == (job["id"], "true")
    other = await refresh(stack, "departments_above_average", key="refresh-1")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert (await refresh(stack, "nothing")).status_code == 404
    kinds = [
        line.removeprefix("event: ").strip()
        for line in (await stack.client.get(job["links"]["events"])).text.splitlines()
        if line.startswith("event: ")
    ]
    assert kinds == ["job.created", "job.started", "job.succeeded", "end"]


async def test_many_refreshes_at_once_are_few_jobs_and_all_end(stack: Stack) -> None:
    answers = await asyncio.gather(*(refresh(stack, "hires_by_quarter") for _ in range(20)))
    assert {answer.json()["status"] for answer in answers} == {"succeeded"}
    assert len({answer.json()["id"] for answer in answers}) < 20
    assert any("millrace-attached" in answer.headers for answer in answers)


async def test_after_a_refresh_the_report_shows_what_was_loaded_before(stack: Stack) -> None:
    """Although nobody has counted it when the refresh begins."""
    year = 2103
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    for number in range(3):
        sent = await stack.client.post(
            "/v1/datasets/hired_employees/imports",
            content=f"{870_000 + number},Fresh,{year}-02-01T00:00:00Z,1,1\n".encode(),
            headers={"Content-Type": "text/csv"},
        )

        async def is_loaded(job_id: str = sent.json()["id"]) -> Any:
            return await db.fetchval("SELECT loaded_at FROM ingestor.chunks WHERE job_id = $1", job_id)

        await eventually(is_loaded, SECONDS)
        job = (await refresh(stack, "hires_by_quarter")).json()
        body = await get(stack, QUARTERS, year=year)
        assert body["version"] >= job["result"]["versions"]["hired_employees"]
        assert sum(row["q1"] for row in body["data"]) == number + 1
    await db.close()


async def test_a_rebuild_mends_a_rollup_and_what_is_kept_of_it(stack: Stack) -> None:
    await imported(stack, "hired_employees", "880000,Mended,2104-02-01T00:00:00Z,1,1\n")
    right = (await get(stack, QUARTERS, year=2104))["data"]
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    await db.execute("UPDATE rollups.hired_employees__hires SET hires = hires + 5 WHERE hired_at_year = 2104")
    await db.close()
    path = "/v1/datasets/hired_employees/rollups/hires/rebuilds"
    job: dict[str, Any] = {}
    for mended in (1, 0):
        job = (await stack.client.post(path, headers={"Prefer": "wait=30"})).json()
        assert (job["kind"], job["status"], job["rollup"], job["result"]["mended"]) == (
            "rebuild",
            "succeeded",
            "hires",
            mended,
        )
        assert (await get(stack, QUARTERS, year=2104))["data"] == right
    (rollup,) = (await get(stack, "/v1/datasets/hired_employees/rollups"))["data"]
    assert rollup["columns"] == ["hired_at_year", "hired_at_quarter", "department_id", "job_id", "hires"]
    assert rollup["groups"] == job["result"]["groups"]
    assert (rollup["last_rebuild"]["id"], rollup["version"]) == (job["id"], rollup["dataset_version"])
    missing = await stack.client.post(path.replace("/hires/", "/nothing/"))
    assert (missing.status_code, missing.json()["hint"]) == (404, "hired_employees has hires.")


async def test_the_command_shows_refreshes_and_rebuilds(stack: Stack) -> None:
    listed = stack.millrace("reports")
    assert listed.returncode == 0
    assert "hires_by_quarter" in listed.stdout
    assert "ready" in listed.stdout
    refreshed = stack.millrace("refresh", "hires_by_quarter")
    assert refreshed.returncode == 0, refreshed.stderr
    assert "hires_by_quarter includes everything up to versions" in refreshed.stdout
    rebuilt = stack.millrace("rebuild", "hired_employees.hires")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert "all were correct" in rebuilt.stdout
    shown = stack.millrace("report", "hires_by_quarter", "year=2021", "--format", "ndjson")
    assert json.loads(shown.stdout.splitlines()[0])["department"]
    assert stack.millrace("report", "hires_by_quarter").returncode == 1
