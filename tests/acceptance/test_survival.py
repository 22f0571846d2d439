"""A large import while everything is killed in turn: it ends, the counts are exact, and nothing is there twice."""

import contextlib
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import polars as pl
import pytest

from tests.stack import SERVICES, Stack
from tests.waiting import eventually

ROWS = 2_200_000
BAD_EVERY = 200
BAD = ROWS // BAD_EVERY
ENDS_WITHIN = 240
YEAR = 2040


def write_file(path: Path) -> None:
    """100 MB of hired employees of one year of their own; every 200th has no department."""
    number = pl.int_range(1, ROWS + 1, eager=True)
    moment = pl.datetime(YEAR, 1, 1) + pl.duration(seconds=number * 13)
    pl.DataFrame({"id": number}).select(
        pl.col("id") + 10_000_000,
        pl.format("Survivor {} of many", pl.col("id")).alias("name"),
        moment.dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias("hired_at"),
        pl.when(pl.col("id") % BAD_EVERY != 0).then(pl.col("id") % 12 + 1).alias("department_id"),
        (pl.col("id") % 183 + 1).alias("job_id"),
    ).write_csv(path, include_header=False)


async def read_job(stack: Stack, job: str) -> dict[str, Any]:
    """The job, or nothing while the gateway is away."""
    with contextlib.suppress(httpx.HTTPError):
        answer = await stack.client.get(f"/v1/jobs/{job}")
        if answer.status_code == 200:
            found: dict[str, Any] = answer.json()
            return found
    return {}


@pytest.mark.timeout(600)
async def test_a_large_import_survives_the_death_of_every_part(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "survivors.csv"
    write_file(path)
    assert path.stat().st_size > 100_000_000
    with path.open("rb") as file:
        accepted = await stack.client.post(
            "/v1/datasets/hired_employees/imports", content=file.read(), headers={"Content-Type": "text/csv"}
        )
    assert accepted.status_code == 202, accepted.text
    job = accepted.json()["id"]

    async def past(percent: float) -> bool:
        found = await read_job(stack, job)
        assert found.get("status") not in ("failed", "succeeded", "partial"), (
            "it ended before everything had been killed"
        )
        return bool(found) and found["progress"]["percent"] >= percent

    killed = {}
    for percent, service in zip((1, 10, 20, 30), SERVICES, strict=True):
        await eventually(lambda percent=percent: past(percent), ENDS_WITHIN)
        killed[service] = stack.pid(service)
        stack.kill(service)
    await eventually(lambda: past(40), ENDS_WITHIN)
    assert stack.millrace("down", "rabbitmq").returncode == 0
    assert stack.millrace("up", "rabbitmq").returncode == 0
    stack.kill("postgres")

    async def ended() -> dict[str, Any]:
        found = await read_job(stack, job)
        return found if found.get("finished_at") else {}

    done = await eventually(ended, ENDS_WITHIN)
    assert done["status"] == "partial", done
    assert done["outcome"] == {
        "rows_read": ROWS,
        "inserted": ROWS - BAD,
        "updated": 0,
        "unchanged": 0,
        "duplicates": 0,
        "failed": BAD,
    }
    assert all(stack.pid(service) != pid for service, pid in killed.items())
    await look_into_the_database(stack, job)


async def look_into_the_database(stack: Stack, job: str) -> None:
    """Table, documents, rollup, failed rows and events say the same as the job."""
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    try:
        chunks = "(SELECT ledger FROM ingestor.chunks WHERE job_id = $1)"
        rows = await db.fetchval(f"SELECT count(*) FROM data.hired_employees WHERE _chunk IN {chunks}", job)
        assert rows == ROWS - BAD
        documents = await db.fetchval(
            "SELECT count(*) FROM documents.hired_employees WHERE hired_at >= make_timestamptz($1, 1, 1, 0, 0, 0)", YEAR
        )
        assert documents == ROWS - BAD
        hires = await db.fetchval(
            "SELECT sum(hires) FROM rollups.hired_employees__hires WHERE hired_at_year = $1", YEAR
        )
        assert hires == ROWS - BAD
        lines = await db.fetch("SELECT line FROM ingestor.failed_rows WHERE job_id = $1 ORDER BY line", job)
        assert [line["line"] for line in lines] == list(range(BAD_EVERY, ROWS + 1, BAD_EVERY))
        types = await db.fetch("SELECT type, sequence FROM gateway.events WHERE job_id = $1 ORDER BY sequence", job)
        assert [event["sequence"] for event in types] == list(range(1, len(types) + 1))
        assert [
            event["type"] for event in types if event["type"] in ("job.succeeded", "job.partial", "job.failed")
        ] == ["job.partial"]
        for service in SERVICES:

            async def nothing_waits(service: str = service) -> bool:
                return await db.fetchval(f"SELECT count(*) FROM {service}.outbox") == 0

            await eventually(nothing_waits, 30)
    finally:
        await db.close()
