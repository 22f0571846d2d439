"""A large import while every process is killed in turn: it ends, the counts are exact, no row is there twice."""

import asyncio
import contextlib
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import polars as pl
import pytest

from tests.acceptance.import_files import count_documents
from tests.stack import SERVICES, Stack, empty
from tests.waiting import eventually

ROWS = 1_100_000
BAD_EVERY = 200
BAD = ROWS // BAD_EVERY
ENDS_WITHIN = 240
YEAR = 2040
OLD, NEW, KEPT = 100_000, 300_000, 50_000
"""Items before a replacement and in it, and how many have the same id; every tenth of those stays as it was."""
BATCH = 20


def write_file(path: Path) -> None:
    """100 MB of hired employees of one year of their own; every 200th has no department.

    A long word in the names makes them of half the rows: cuts, chunks and kills are the same, the index is done sooner.
    """
    moment = pl.datetime(YEAR, 1, 1) + pl.duration(seconds=pl.col("id") * 26)
    pl.DataFrame({"id": pl.int_range(1, ROWS + 1, eager=True)}).select(
        pl.col("id") + 10_000_000,
        pl.format("Survivor {} of many {}", pl.col("id"), pl.lit("endures" * 7)).alias("name"),
        moment.dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias("hired_at"),
        pl.when(pl.col("id") % BAD_EVERY != 0).then(pl.col("id") % 12 + 1).alias("department_id"),
        (pl.col("id") % 183 + 1).alias("job_id"),
    ).write_csv(path, include_header=False)


async def read_job(stack: Stack, job: str) -> dict[str, Any]:
    """The job, or nothing while the gateway is away."""
    with contextlib.suppress(httpx2.HTTPError):
        answer = await stack.client.get(f"/v1/jobs/{job}")
        if answer.status_code == 200:
            found: dict[str, Any] = answer.json()
            return found
    return {}


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("faults")
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
        await eventually(partial(past, percent), ENDS_WITHIN)
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
    assert {word: count for word, count in done["outcome"].items() if count} == {
        "rows_read": ROWS,
        "inserted": ROWS - BAD,
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
        documents = await count_documents(
            db, "hired_employees", f"hired_at >= '{YEAR}-01-01' AND hired_at < '{YEAR + 1}-01-01'"
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
                return bool(await db.fetchval(f"SELECT count(*) = 0 FROM {service}.outbox"))

            await eventually(nothing_waits, 30)
    finally:
        await db.close()


def items(first: int, count: int, name: str) -> bytes:
    """Every tenth is the same whatever the name."""
    number = pl.int_range(first, first + count, eager=True)
    return (
        pl.DataFrame({"id": number})
        .select(
            pl.col("id"),
            pl.when(pl.col("id") % 10 == 0).then(pl.lit("Everlasting item")).otherwise(pl.lit(name)).alias("name"),
            pl.format("Category {}", pl.col("id") % 7).alias("category"),
            pl.lit("1.50").alias("price"),
            (pl.col("id") % 5).alias("quantity"),
            pl.lit("So long that the file has a few chunks. " * 2).alias("description"),
        )
        .write_csv()
        .encode()
    )


async def ask(stack: Stack, query: str, *values: Any) -> Any:
    """One value from Postgres, or None while it is away."""
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
        db = await asyncpg.connect(stack.env["DATABASE_URL"], timeout=5)
        try:
            return await db.fetchval(query, *values, timeout=60)
        finally:
            await db.close(timeout=5)
    return None


class Stream:
    """Batches that a client sends one after the other, each until it is accepted."""

    def __init__(self, stack: Stack) -> None:
        self.jobs: list[str] = []
        self._stack = stack
        self._ended = asyncio.Event()

    async def run(self) -> None:
        while not self._ended.is_set():
            number = len(self.jobs)
            rows = [
                {"customer_id": f"{number}-{row}", "first_name": "Ada", "last_name": "Byron", "email": "a@example.org"}
                for row in range(BATCH)
            ]
            self.jobs.append(await self._send({"rows": rows}, key=f"survivor-{number}"))

    async def _send(self, body: dict[str, Any], key: str) -> str:
        async def accepted() -> str:
            with contextlib.suppress(httpx2.HTTPError):
                answer = await self._stack.client.post(
                    "/v1/datasets/customers/rows", json=body, headers={"Idempotency-Key": key}
                )
                assert answer.status_code in (200, 202, 503), answer.text
                if answer.status_code != 503:
                    number: str = answer.json()["id"]
                    return number
            return ""

        return await eventually(accepted, ENDS_WITHIN)

    def end(self) -> None:
        self._ended.set()


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("faults")
async def test_a_replacement_and_a_stream_of_batches_survive_the_death_of_ingestor_and_postgres(stack: Stack) -> None:
    await empty(stack)
    path = "/v1/datasets/items/imports"
    headers = {"Content-Type": "text/csv"}
    before = await stack.client.post(path, content=items(1, OLD, "Old"), headers={**headers, "Prefer": "wait=60"})
    assert before.json()["outcome"]["inserted"] == OLD, before.text
    stream = Stream(stack)
    sending = asyncio.create_task(stream.run())
    try:
        accepted = await stack.client.post(
            path, content=items(OLD - KEPT + 1, NEW, "New"), params={"mode": "replace"}, headers=headers
        )
        assert accepted.status_code == 202, accepted.text
        job = accepted.json()["id"]

        async def is_staging() -> bool:
            return await ask(stack, "SELECT sum(checked) FROM ingestor.chunks WHERE job_id = $1", job) is not None

        async def is_swapping() -> bool:
            """Every reader sees the old rows, and all of them."""
            assert (await read_job(stack, job)).get("status") in (None, "queued", "running")
            swapping = await ask(
                stack,
                "SELECT true FROM pg_stat_activity WHERE usename = 'ingestor' AND state = 'active' AND query LIKE $1",
                '%data."items"%final%',
            )
            assert await ask(stack, "SELECT count(*) FROM data.items") in (None, OLD)
            return bool(swapping)

        await eventually(is_staging, ENDS_WITHIN)
        stack.kill("ingestor")
        for part in ("postgres", "ingestor"):
            await eventually(is_swapping, ENDS_WITHIN)
            stack.kill(part)

        async def ended() -> dict[str, Any]:
            found = await read_job(stack, job)
            return found if found.get("finished_at") else {}

        done = await eventually(ended, ENDS_WITHIN)
    finally:
        stream.end()
        await sending
    assert done["status"] == "succeeded", done
    assert {word: count for word, count in done["outcome"].items() if count} == {
        "rows_read": NEW,
        "inserted": NEW - KEPT,
        "updated": KEPT - KEPT // 10,
        "unchanged": KEPT // 10,
        "deleted": OLD - KEPT,
    }
    assert await ask(stack, "SELECT count(*) FROM data.items WHERE name = 'New'") == NEW - NEW // 10
    assert await ask(stack, "SELECT count(*) FROM data.items") == NEW
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    assert await count_documents(db, "items") == NEW
    await db.close()
    assert await ask(stack, "SELECT sum(items) FROM rollups.items__stock") == NEW
    assert await ask(stack, "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'replacing%'") == 0
    await look_at_the_batches(stack, stream.jobs)


async def look_at_the_batches(stack: Stack, jobs: list[str]) -> None:
    """Each was loaded once, whatever its client saw of it."""
    assert len(jobs) == len(set(jobs)) > 10

    async def all_ended() -> bool:
        unfinished = "SELECT count(*) FROM gateway.jobs WHERE id = ANY($1) AND finished_at IS NULL"
        return bool(await ask(stack, unfinished, jobs) == 0)

    await eventually(all_ended, ENDS_WITHIN)
    for word, expected in (("count(*)", len(jobs)), ("sum((outcome->>'inserted')::int)", BATCH * len(jobs))):
        query = f"SELECT {word} FROM gateway.jobs WHERE id = ANY($1) AND status = 'succeeded'"
        assert await ask(stack, query, jobs) == expected
    assert await ask(stack, "SELECT count(*) FROM data.customers") == BATCH * len(jobs)
    assert await ask(stack, "SELECT sum(customers) FROM rollups.customers__joined") == BATCH * len(jobs)
