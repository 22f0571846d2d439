"""The years of a dataset: listed, detached, and imported again as in docs/guides/years.md."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.acceptance.import_files import get, imported
from tests.stack import ROOT, Stack

PAGE = (ROOT / "docs" / "guides" / "years.md").read_text()
HERE = "/v1/datasets/hired_employees"
FIRST = 70_000_000
YEARS = (1950, 1951, 1952)
"""Which no other test has."""


@pytest.fixture(autouse=True)
async def loaded(stack: Stack) -> None:
    """Ten hires in each of the years; nothing of these years is left of the test before."""
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    for table in await db.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'detached'"):
        await db.execute(f'DROP TABLE detached."{table["tablename"]}"')
    await db.close()
    await imported(stack, "departments", "970,Alchemy\n")
    await imported(stack, "jobs", "970,Alchemist\n")
    rows = (
        f"{FIRST + number},zebedee {YEARS[number % 3]},{YEARS[number % 3]}-0{number % 9 + 1}-01T12:34:56Z,970,970\n"
        for number in range(30)
    )
    await imported(stack, "hired_employees", "".join(rows))


async def detach(stack: Stack, year: int | str, *, wait: int = 60, key: str = "") -> Any:
    headers = {"Prefer": f"wait={wait}", **({"Idempotency-Key": key} if key else {})}
    return await stack.client.post(f"{HERE}/partitions/{year}/detach", headers=headers)


async def seen(stack: Stack, year: int) -> tuple[Any, Any, Any]:
    """The rows of the year, how many are found, and what is reported."""
    rows = await get(stack, f"{HERE}/rows", hired_at=f"gte.{year}-01-01", order="id", limit=20, **{"and": until(year)})
    found = await get(stack, f"{HERE}/search", q=f"zebedee {year}", typos="off")
    report = await get(stack, "/v1/reports/hires_by_quarter", year=year)
    return rows["data"], found["total"]["value"], report["data"]


def until(year: int) -> str:
    return f"(hired_at.lt.{year + 1}-01-01)"


async def test_the_years_are_listed_with_what_they_hold(stack: Stack) -> None:
    found = (await get(stack, f"{HERE}/partitions"))["data"]
    assert [year["year"] for year in found] == sorted(year["year"] for year in found)
    (one,) = (year for year in found if year["year"] == 1951)
    assert one.pop("bytes") >= 3 * 8192
    assert one == {
        "year": 1951,
        "table": "data.hired_employees__1951",
        "from": "1951-01-01",
        "to": "1952-01-01",
        "rows": 10,
        "count": "exact",
    }
    shown = stack.millrace("partitions", "hired_employees")
    assert re.search(r"1951 +data\.hired_employees__1951 +1951-01-01 +1952-01-01 +10 ", shown.stdout), shown


async def test_a_year_that_is_detached_is_gone_everywhere_and_kept_in_its_table(stack: Stack) -> None:
    others = [await seen(stack, year) for year in (1950, 1952)]
    rows, found, report = await seen(stack, 1951)
    assert (len(rows), found, sum(sum(row[f"q{n}"] for n in (1, 2, 3, 4)) for row in report)) == (10, 10, 10)
    answer = await detach(stack, 1951)
    assert answer.status_code == 200, answer.text
    job = answer.json()
    assert (job["kind"], job["status"], job["mode"], job["outcome"]["deleted"]) == ("detach", "succeeded", None, 10)
    assert (job["year"], job["table"]) == (1951, "detached.hired_employees__1951")
    assert await get(stack, answer.headers["Location"]) == job
    assert await seen(stack, 1951) == ([], 0, [])
    assert [await seen(stack, year) for year in (1950, 1952)] == others
    listed = await get(stack, f"{HERE}/partitions")
    assert 1951 not in [year["year"] for year in listed["data"]]
    assert [(year["table"], year["rows"]) for year in listed["detached"]] == [("detached.hired_employees__1951", 10)]
    assert (await detach(stack, 1951)).status_code == 404


async def test_it_is_brought_back_as_the_page_says(stack: Stack, tmp_path: Path) -> None:
    before = await seen(stack, 1951)
    assert (await detach(stack, 1951)).json()["status"] == "succeeded"
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (block,) = (block.removeprefix("$ ").replace("\n$ ", "\n") for block in blocks if "psql" in block)
    done = subprocess.run(
        ["sh", "-ec", block.replace("2021", "1951").replace(".local/", f"{stack.home}/")],
        cwd=tmp_path,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "MILLRACE_HOME": str(stack.home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done
    assert await seen(stack, 1951) == before
    assert (await get(stack, f"{HERE}/partitions"))["detached"] == []


async def test_the_command_takes_a_year_out_and_says_where_it_is(stack: Stack) -> None:
    done = stack.millrace("detach", "hired_employees", "1951")
    assert done.returncode == 0, done
    assert "10 rows are in detached.hired_employees__1951" in done.stdout
    again = stack.millrace("detach", "hired_employees", "1951")
    assert again.returncode == 1
    assert "1950, 1952" in again.stderr


async def test_asked_for_by_many_while_it_is_under_way_it_is_one_job(stack: Stack) -> None:
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    key = f"attached {id(db)}"
    async with db.transaction():
        await db.fetch("SELECT FROM data.hired_employees LIMIT 1")  # as long as somebody reads, it can't end
        answers = await asyncio.gather(
            *(detach(stack, 1951, wait=0) for _ in range(4)), detach(stack, 1951, wait=0, key=key)
        )
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert sum("Millrace-Attached" not in answer.headers for answer in answers) == 1
        assert answers[0].json()["table"] == "detached.hired_employees__1951"
    await db.close()
    job = (await stack.client.get(answers[0].headers["Location"], headers={"Prefer": "wait=60"})).json()
    assert (job["status"], job["outcome"]["deleted"]) == ("succeeded", 10)
    assert (await detach(stack, 1951, key=key)).json()["id"] == job["id"]


async def test_the_same_request_again_is_the_same_job_though_the_year_is_gone(stack: Stack) -> None:
    key = f"detach {id(stack)}"
    first = await detach(stack, 1951, key=key)
    again = await detach(stack, 1951, key=key)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (await detach(stack, 1950, key=key)).json()["code"] == "idempotency_key_reused"


@pytest.mark.parametrize("year", ["1949", "0000", "19510", "x", "-1951", "1951.0", "%C2%B2021"])
async def test_a_year_that_is_not_there_is_a_404_with_those_that_are(stack: Stack, year: str) -> None:
    answer = await detach(stack, year)
    assert answer.status_code == 404
    assert "1950, 1951, 1952" in answer.json()["hint"]


async def test_a_year_that_was_detached_before_is_a_409_that_says_what_to_do(stack: Stack) -> None:
    await detach(stack, 1951)
    await imported(stack, "hired_employees", f"{FIRST + 1},zebedee,1951-02-01T00:00:00Z,970,970\n")
    answer = await detach(stack, 1951)
    assert (answer.status_code, answer.json()["code"]) == (409, "detached_already")
    assert "ALTER TABLE detached.hired_employees__1951 SET SCHEMA" in answer.json()["hint"]


async def test_a_dataset_of_a_single_table_has_no_years(stack: Stack) -> None:
    for answer in (
        await stack.client.get("/v1/datasets/items/partitions"),
        await stack.client.post("/v1/datasets/items/partitions/2021/detach"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "not_partitioned")


async def test_a_large_year_is_estimated(stack: Stack) -> None:
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    await db.execute("CREATE TABLE detached.hired_employees__1900 AS SELECT * FROM data.hired_employees WHERE false")
    await db.execute(
        "INSERT INTO detached.hired_employees__1900 (id, name)"
        " SELECT n, repeat('x', 200) FROM generate_series(1, 50000) n; ANALYZE detached.hired_employees__1900"
    )
    await db.execute("GRANT SELECT ON detached.hired_employees__1900 TO gateway")
    await db.close()
    (year,) = (await get(stack, f"{HERE}/partitions"))["detached"]
    assert year["count"] == "estimated"
    assert 45_000 < year["rows"] < 55_000
