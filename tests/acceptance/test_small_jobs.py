"""Hundreds of small jobs at once, good and bad, while every process is killed: each ends as it would alone."""

import asyncio
import random
from collections import Counter
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import msgspec
import pytest

from tests.acceptance.import_files import count_documents
from tests.stack import SERVICES, Stack
from tests.waiting import eventually

CLIENTS = 24
JOBS_EACH = 24
KILLED_AFTER = (60, 150, 240, 330)
"""Accepted jobs, after which the next service is killed."""
ENDS_WITHIN = 240.0
READ, PLAIN = "small_jobs_read", "small_jobs_plain"
FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "integer", "required": True},
    {"name": "name", "type": "string", "required": True, "max_length": 20},
    {"name": "quantity", "type": "integer", "required": True},
]
DECLARATIONS: dict[str, dict[str, Any]] = {
    PLAIN: {"title": "Plain", "primary_key": ["id"], "fields": FIELDS},
    READ: {
        "title": "Read",
        "primary_key": ["id"],
        "fields": FIELDS,
        "search": {"fields": ["name"], "language": "simple"},
        "rollups": [{"name": "sums", "group_by": ["name"], "measures": {"quantity": "sum(quantity)"}}],
    },
}
NAMES = ("ash", "birch", "cedar", "elm")


class Sent(msgspec.Struct):
    """A job and what has to become of it."""

    id: str
    dataset: str
    status: str
    outcome: dict[str, int]
    bad_lines: list[int]


class Client:
    """Sends jobs over rows of its own, one after the other, and knows what the table should hold."""

    def __init__(self, stack: Stack, number: int) -> None:
        self.rows: dict[str, dict[int, tuple[str, int]]] = {READ: {}, PLAIN: {}}
        self.sent: list[Sent] = []
        self._stack = stack
        self._chance = random.Random(number)
        self._next = (number + 1) * 1_000_000

    async def run(self) -> None:
        """Sends all jobs."""
        for _ in range(JOBS_EACH):
            dataset = self._chance.choice((READ, PLAIN))
            await self._chance.choice((self._new, self._new, self._bad, self._strict, self._repeat, self._change))(
                dataset
            )

    async def _new(self, dataset: str) -> None:
        rows = self._make(3)
        await self._send(dataset, rows, "succeeded", {"inserted": 3})
        self._keep(dataset, rows)

    async def _bad(self, dataset: str) -> None:
        rows = self._make(3)
        bad = {**rows[1], "quantity": "many"}
        await self._send(dataset, [rows[0], bad, rows[2]], "partial", {"inserted": 2, "failed": 1}, [2])
        self._keep(dataset, [rows[0], rows[2]])

    async def _strict(self, dataset: str) -> None:
        rows = self._make(3)
        outcome = {"checked": 2, "failed": 1}
        prefer = "handling=strict, wait=0"
        await self._send(dataset, [rows[0], rows[1], {"id": "no"}], "failed", outcome, [3], prefer)

    async def _repeat(self, dataset: str) -> None:
        """The same key twice in a batch, and the same request twice."""
        rows = self._make(2)
        last = {**rows[0], "quantity": 99}
        key = str(uuid4())
        outcome = {"inserted": 2, "duplicates": 1}
        job = await self._send(dataset, [*rows, last], "succeeded", outcome, key=key)
        assert (await self._post(dataset, [*rows, last], key, "wait=0"))["id"] == job
        self._keep(dataset, [*rows, last])

    async def _change(self, dataset: str) -> None:
        """Changes a row, repeats another and adds a third, after the job that wrote them has ended."""
        rows = self._make(2)
        await self._wait(await self._send(dataset, rows, "succeeded", {"inserted": 2}))
        self._keep(dataset, rows)
        changed = {**rows[0], "quantity": rows[0]["quantity"] + 1}
        again = [changed, rows[1], *self._make(1)]
        await self._send(dataset, again, "succeeded", {"updated": 1, "unchanged": 1, "inserted": 1})
        self._keep(dataset, again)

    def _make(self, count: int) -> list[dict[str, Any]]:
        first, self._next = self._next, self._next + count
        return [
            {"id": first + n, "name": self._chance.choice(NAMES), "quantity": self._chance.randrange(1000)}
            for n in range(count)
        ]

    def _keep(self, dataset: str, rows: list[dict[str, Any]]) -> None:
        self.rows[dataset] |= {row["id"]: (row["name"], row["quantity"]) for row in rows}

    async def _send(
        self,
        dataset: str,
        rows: list[dict[str, Any]],
        status: str,
        outcome: dict[str, int],
        bad_lines: list[int] | None = None,
        prefer: str = "wait=0",
        key: str = "",
    ) -> str:
        job = await self._post(dataset, rows, key or str(uuid4()), prefer)
        self.sent.append(Sent(job["id"], dataset, status, {"rows_read": len(rows), **outcome}, bad_lines or []))
        return str(job["id"])

    async def _post(self, dataset: str, rows: list[dict[str, Any]], key: str, prefer: str) -> dict[str, Any]:
        """The accepted job. Sends the request again while the gateway is away."""
        headers = {"Idempotency-Key": key, "Prefer": prefer}

        async def accepted() -> dict[str, Any]:
            try:
                answer = await self._stack.client.post(
                    f"/v1/datasets/{dataset}/rows", json={"rows": rows}, headers=headers
                )
            except httpx2.TransportError:
                return {}
            assert answer.status_code < 500 or answer.status_code == 503, answer.text
            if answer.status_code == 422:  # refused already: the job is in the hint
                assert "handling=strict" in prefer, answer.text
                return {"id": answer.json()["hint"].rpartition("job ")[2].split()[0]}
            return dict(answer.json()) if answer.status_code in (200, 202) else {}

        return await eventually(accepted, ENDS_WITHIN)

    async def _wait(self, job: str) -> None:
        async def ended() -> bool:
            try:
                answer = await self._stack.client.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=5"})
            except httpx2.TransportError:
                return False
            return answer.status_code == 200 and bool(answer.json()["finished_at"])

        await eventually(ended, ENDS_WITHIN)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("faults")
async def test_small_jobs_end_as_they_would_alone_whatever_is_killed(stack: Stack) -> None:
    for dataset, declaration in DECLARATIONS.items():
        answer = await stack.client.put(f"/v1/datasets/{dataset}", json=declaration)
        assert answer.is_success, answer.text
    clients = [Client(stack, number) for number in range(CLIENTS)]
    running = [asyncio.create_task(client.run()) for client in clients]
    for service, accepted in zip(SERVICES, KILLED_AFTER, strict=True):

        async def so_many(accepted: int = accepted) -> bool:
            return sum(len(client.sent) for client in clients) >= accepted or all(task.done() for task in running)

        await eventually(so_many, ENDS_WITHIN)
        stack.kill(service)
    await asyncio.gather(*running)
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    try:
        sent = [job for client in clients for job in client.sent]
        await all_ended(db, [job.id for job in sent])
        await compare_jobs(db, sent)
        for dataset in DECLARATIONS:
            expected = {key: row for client in clients for key, row in client.rows[dataset].items()}
            rows = await db.fetch(f"SELECT id, name, quantity FROM data.{dataset}")
            assert {row["id"]: (row["name"], row["quantity"]) for row in rows} == expected
        await compare_readers(db, {key: row for client in clients for key, row in client.rows[READ].items()})
    finally:
        await db.close()


async def all_ended(db: asyncpg.Connection, jobs: list[str]) -> None:
    async def ended() -> bool:
        return not await db.fetchval(
            "SELECT count(*) FROM gateway.jobs WHERE id = ANY($1::uuid[]) AND finished_at IS NULL", jobs
        )

    await eventually(ended, ENDS_WITHIN)


async def compare_jobs(db: asyncpg.Connection, sent: list[Sent]) -> None:
    """Status, counts, failed rows and events of each job."""
    ids = [job.id for job in sent]
    jobs = {
        str(row["id"]): row
        for row in await db.fetch("SELECT id, status, outcome FROM gateway.jobs WHERE id = ANY($1::uuid[])", ids)
    }
    failed: dict[str, list[int]] = {}
    for row in await db.fetch(
        "SELECT job_id, line FROM ingestor.failed_rows WHERE job_id = ANY($1::uuid[]) ORDER BY line", ids
    ):
        failed.setdefault(str(row["job_id"]), []).append(row["line"])
    events: dict[str, list[tuple[int, str]]] = {}
    for row in await db.fetch(
        "SELECT job_id, sequence, type FROM gateway.events WHERE job_id = ANY($1::uuid[]) ORDER BY sequence", ids
    ):
        events.setdefault(str(row["job_id"]), []).append((row["sequence"], row["type"]))
    for job in sent:
        row = jobs[job.id]
        outcome = {word: count for word, count in msgspec.json.decode(row["outcome"]).items() if count}
        assert (row["status"], outcome) == (job.status, job.outcome), job
        assert failed.get(job.id, []) == job.bad_lines, job
        types = [name for _, name in events[job.id]]
        assert [sequence for sequence, _ in events[job.id]] == list(range(1, len(types) + 1))
        assert types[:2] == ["job.created", "job.started"]
        assert Counter(types)[f"job.{job.status}"] == 1
        assert types[-1] == f"job.{job.status}"
        assert set(types[2:-1]) <= {"job.progress"}


async def compare_readers(db: asyncpg.Connection, rows: dict[int, tuple[str, int]]) -> None:
    """Documents, words and the rollup are those of the rows."""
    assert await count_documents(db, READ) == len(rows)
    sums: Counter[str] = Counter()
    for name, quantity in rows.values():
        sums[name] += quantity
    rollup = await db.fetch(f"SELECT name, quantity FROM rollups.{READ}__sums")
    assert {row["name"]: row["quantity"] for row in rollup} == dict(sums)
    watermarks = await db.fetchrow(
        "SELECT version, (SELECT indexed FROM indexer.freshness f WHERE f.dataset = name) AS indexed,"
        " (SELECT counted FROM analytics.freshness f WHERE f.dataset = name) AS counted"
        " FROM ingestor.datasets WHERE name = $1",
        READ,
    )
    assert watermarks is not None
    assert watermarks["version"] == watermarks["indexed"] == watermarks["counted"]
