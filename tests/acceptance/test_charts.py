"""Reports as images over HTTP."""

import asyncio
import re
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import httpx2
import pytest

from tests.acceptance import hiring_files
from tests.acceptance.import_files import get, imported
from tests.stack import Stack, empty, memory

YEARS = tuple(range(2001, 2013))
FILE = hiring_files.hired(seed=6, rows=3000, first_id=900_000, years=YEARS)
QUARTERS = "/v1/reports/hires_by_quarter"


@pytest.fixture(scope="module", autouse=True)
async def loaded(stack: Stack) -> None:
    await empty(stack)
    await imported(stack, "departments", hiring_files.lines(hiring_files.DEPARTMENTS))
    await imported(stack, "jobs", hiring_files.lines(hiring_files.JOBS))
    await imported(stack, "hired_employees", FILE.text)


def texts(answer: httpx2.Response) -> list[str]:
    root = ET.fromstring(answer.content)  # noqa: S314 - ours
    return ["".join(node.itertext()) for node in root.iter() if node.tag.endswith("}text")]


@pytest.mark.parametrize("how", ["format", "accept", "browser"])
async def test_a_report_comes_as_an_image(stack: Stack, how: str) -> None:
    accepted = {"accept": "image/svg+xml", "browser": "image/avif,image/webp,image/svg+xml,image/*;q=0.8,*/*;q=0.5"}
    headers = {"Accept": accepted[how]} if how in accepted else {}
    parameters: dict[str, int | str] = {"year": 2004, **({"format": "svg"} if how == "format" else {})}
    answer = await stack.client.get(QUARTERS, params=parameters, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("image/svg+xml")
    assert "Content-Disposition" not in answer.headers
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    shown = texts(answer)
    version = (await get(stack, QUARTERS, year=2004))["version"]
    assert {"Hires by quarter (year 2004)", "department", "q1", "q4", "Department A"} <= set(shown)
    assert re.fullmatch(rf"as of \S+ \S+ UTC, version {version}(, behind by [0-9]+)?", shown[-1])


async def test_it_is_not_sent_again_while_the_rows_are_the_same(stack: Stack) -> None:
    first = await stack.client.get(QUARTERS, params={"year": 2005, "format": "svg"})
    again = await stack.client.get(
        QUARTERS, params={"year": 2005, "format": "svg"}, headers={"If-None-Match": first.headers["ETag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    other = await stack.client.get(
        QUARTERS, params={"year": 2006, "format": "svg"}, headers={"If-None-Match": first.headers["ETag"]}
    )
    assert other.status_code == 200
    assert first.headers["ETag"] not in (other.headers["ETag"], (await _json(stack, 2005)).headers["ETag"])


async def _json(stack: Stack, year: int) -> httpx2.Response:
    return await stack.client.get(QUARTERS, params={"year": year})


async def test_a_year_without_data_is_an_image_that_says_so(stack: Stack) -> None:
    assert "There are no rows." in texts(await stack.client.get(QUARTERS, params={"year": 1913, "format": "svg"}))


async def test_every_report_of_the_catalog_can_be_drawn(stack: Stack) -> None:
    for one in (await get(stack, "/v1/reports"))["data"]:
        year = {"year": 2004} if "year" in [parameter["name"] for parameter in one["parameters"]] else {}
        answer = await stack.client.get(one["link"], params={**year, "format": "svg"})
        assert answer.status_code == 200, answer.text
        assert one["title"] in "".join(texts(answer))


async def test_while_charts_are_drawn_others_are_answered(stack: Stack) -> None:
    waits: list[float] = []
    gateway = Path(f"/proc/{stack.pid('gateway')}")
    before = memory(gateway, "VmRSS")  # depends on the tests before
    drawing = [
        asyncio.create_task(stack.client.get(QUARTERS, params={"year": year, "format": "svg"})) for year in YEARS[2:]
    ]
    while not all(task.done() for task in drawing):
        began = time.monotonic()
        assert (await stack.client.get("/health/live")).status_code == 200
        waits.append(time.monotonic() - began)
    assert {task.result().status_code for task in drawing} == {200}
    assert len(waits) > 3
    assert max(waits) < 1.0
    assert memory(gateway, "VmRSS") - before < 40_960_000


async def test_the_command_draws(stack: Stack) -> None:
    done = stack.millrace("report", "departments_above_average", "year=2004", "--format", "svg")
    assert done.returncode == 0, done
    assert done.stdout.startswith("<?xml")
    assert "Departments above average (year 2004)" in done.stdout
