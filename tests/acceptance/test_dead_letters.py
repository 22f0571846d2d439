"""Dead letters over HTTP: listed and counted wherever they are, redriven, discarded."""

import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import httpx2
import msgspec
import pytest

from services.gateway.http import api_keys
from shared.bus.topology import DEAD
from tests.acceptance.import_files import get, send
from tests.integration.ingestor_runner import connected
from tests.stack import SERVICES, Stack
from tests.waiting import eventually

PATH = "/v1/ops/dead-letters"
SECONDS = 30.0
GIVEN_UP_SECONDS = 90
"""Six attempts take about half a minute."""
MANY = 2_300
LARGE = 20_000


@pytest.fixture
async def admin(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    """Of the stack's database."""
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    yield db
    await db.close()


@contextlib.asynccontextmanager
async def failing_documents(db: asyncpg.Connection, dataset: str) -> AsyncIterator[None]:
    """Nothing of the dataset can be indexed meanwhile."""
    generation = await db.fetchval(
        "SELECT generation FROM indexer.indexes WHERE dataset = $1 AND state = 'serving'", dataset
    )
    table = f'documents."{dataset}__{generation}"'
    await db.execute(
        "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'refused by a test'; END $$;"
        f" CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION public.refuse()"
    )
    try:
        yield
    finally:
        await db.execute(f"DROP TRIGGER refuse ON {table}; DROP FUNCTION public.refuse()")


async def insert_letters(
    db: asyncpg.Connection,
    service: str,
    dataset: str,
    number: int,
    *,
    reason: str = "failed",
    age: int = 0,
    **changed: Any,
) -> None:
    """Letters that nobody sent."""
    letter = {"name": "load_chunk", "queue": f"{service}.load_chunk", "data": b"{}", "job_id": None, **changed}
    await db.execute(
        f"""
        INSERT INTO {service}.dead_letters
               (id, queue, name, dataset, job_id, data, command, reason, problem, attempts, created_at, died_at)
        SELECT gen_random_uuid(), $1, $2, $3, $4, $5, true, $6, '{{"code": "gave_up", "detail": "a test"}}', 6, now(),
               now() - ($7 + n * 0.001) * interval '1 second'
        FROM generate_series(1, $8) AS n
        """,
        letter["queue"],
        letter["name"],
        dataset,
        letter["job_id"],
        letter["data"],
        reason,
        age,
        number,
    )


@pytest.fixture
async def dataset(admin: asyncpg.Connection) -> AsyncIterator[str]:
    """A name that only this test uses; its letters are gone afterwards."""
    name = f"letters_{uuid4().hex[:8]}"
    yield name
    for service in SERVICES:
        await admin.execute(f"DELETE FROM {service}.dead_letters WHERE dataset = $1", name)


async def settle(stack: Stack, verb: str, wait: int = 30, key: str = "", **body: Any) -> httpx2.Response:
    headers = {**({"Prefer": f"wait={wait}"} if wait else {}), **({"Idempotency-Key": key} if key else {})}
    return await stack.client.post(f"{PATH}/{verb}", json=body, headers=headers)


async def settled(stack: Stack, verb: str, **body: Any) -> dict[str, Any]:
    answer = await settle(stack, verb, **body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def measured(stack: Stack) -> int:
    """The one number, as Prometheus sees it."""
    total = 0.0
    async with httpx2.AsyncClient() as client:
        for service in SERVICES:
            text = (await client.get(f"{stack.env[f'{service.upper()}_URL']}/metrics")).text
            total += float(re.findall(r"^millrace_dead_letters (\S+)", text, re.MULTILINE)[0])
    return int(total)


async def metrics_agree(stack: Stack) -> None:
    """Waits until the metrics say what the list says."""

    async def equal() -> bool:
        return await measured(stack) == int((await get(stack, PATH))["total"])

    await eventually(equal, SECONDS)


async def post(stack: Stack, queue: str, body: bytes, **properties: Any) -> None:
    async with await aio_pika.connect(stack.env["BROKER_URL"]) as broker, broker.channel() as channel:
        await channel.default_exchange.publish(aio_pika.Message(body, **properties), routing_key=queue)


async def test_what_failed_is_listed_with_its_reason_and_healed_by_a_redrive(
    stack: Stack, admin: asyncpg.Connection
) -> None:
    word = f"zyx{uuid4().hex[:10]}"
    async with failing_documents(admin, "departments"):
        answer = await send(stack, "departments", f"id,department\n910001,{word}\n", wait=0)
        job = answer.json()["id"]

        async def has_failed() -> bool:
            return str((await get(stack, f"/v1/jobs/{job}"))["status"]) == "failed"

        await eventually(has_failed, GIVEN_UP_SECONDS)
        page = await get(stack, PATH, job=job)
        assert (page["total"], page["next"]) == (1, None)
        [letter] = page["data"]
        assert (letter["service"], letter["message"], letter["queue"], letter["reason"], letter["state"]) == (
            "indexer", "chunk.loaded", "indexer.chunk_loaded.small", "failed", "dead",
        )  # fmt: skip
        assert (letter["dataset"], letter["job"], letter["redrivable"]) == ("departments", job, True)
        assert "refused by a test" in letter["problem"]["detail"]
        assert (letter["payload"]["job_id"], letter["payload_truncated"]) == (job, False)
        assert 0 <= letter["age_seconds"] < GIVEN_UP_SECONDS
        assert [attempt["number"] for attempt in letter["attempts"]] == [1, 2, 3, 4, 5]
        assert all("refused" in attempt["problem"]["detail"] for attempt in letter["attempts"])
        assert all(attempt["worker"] and attempt["began_at"] for attempt in letter["attempts"])
        await metrics_agree(stack)
        expected = [{"service": "indexer", "message": "chunk.loaded", "reason": "failed", "count": 1}]
        dry = await settled(stack, "redrive", job=job, dry_run=True)
        assert (dry["matched"], dry["by"], dry["dry_run"], dry["settled"]) == (1, expected, True, None)
        assert (await get(stack, PATH, job=job))["data"][0]["state"] == "dead"
    redriven = await settled(stack, "redrive", job=job)
    assert (redriven["matched"], redriven["settled"], redriven["more"]) == (1, 1, False)

    async def is_found() -> bool:
        return len((await get(stack, "/v1/datasets/departments/search", q=word))["data"]) == 1

    await eventually(is_found, SECONDS)

    async def has_succeeded() -> bool:
        return str((await get(stack, f"/v1/jobs/{job}"))["status"]) == "succeeded"

    await eventually(has_succeeded, SECONDS)  # the redrive has reopened it
    assert (await get(stack, PATH, job=job))["total"] == 0
    [letter] = (await get(stack, PATH, job=job, state="redriven"))["data"]
    assert letter["redriven"] == 1
    await metrics_agree(stack)


@pytest.mark.parametrize("queue", ["ingestor.load_chunk", DEAD])
async def test_garbage_is_counted_listed_and_discarded(stack: Stack, queue: str) -> None:
    body = f"{{no JSON {uuid4()}".encode()
    await post(stack, queue, body, type="load_chunk")

    async def listed() -> Any:
        letters = (await get(stack, PATH, reason="undecodable"))["data"]
        return [letter for letter in letters if letter["payload"] == body.decode()]

    [letter] = await eventually(listed, SECONDS)
    assert (letter["service"], letter["queue"], letter["message"], letter["job"]) == (
        "gateway",
        queue,
        "load_chunk",
        None,
    )
    assert (letter["redrivable"], letter["attempts"], letter["problem"]["code"]) == (False, [], "undecodable")
    await metrics_agree(stack)
    await post(stack, queue, body, type="load_chunk")  # the same one again is the same letter
    for dry_run in (True, False):
        refused = await settle(stack, "redrive", ids=[letter["id"]], dry_run=dry_run)
        assert (refused.status_code, refused.json()["code"]) == (409, "not_redrivable")

    async def both_taken() -> bool:
        return await waiting(stack) == 0

    await eventually(both_taken, SECONDS)
    assert len(await listed()) == 1
    assert (await settled(stack, "discard", ids=[letter["id"]]))["settled"] == 1
    assert await listed() == []
    await metrics_agree(stack)


async def waiting(stack: Stack) -> int:
    """Messages in the dead queue."""
    async with await aio_pika.connect(stack.env["BROKER_URL"]) as broker, broker.channel() as channel:
        return (await channel.declare_queue(DEAD, passive=True)).declaration_result.message_count or 0


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_dead_delivery_of_a_message_that_the_ledger_knows_is_dropped(
    stack: Stack, admin: asyncpg.Connection, *, is_known: bool
) -> None:
    message_id = uuid4()
    if is_known:
        await admin.execute("INSERT INTO ingestor.inbox (id, name) VALUES ($1, 'load_chunk')", message_id)
    envelope = {
        "specversion": "1.0", "id": message_id, "source": "/millrace/tests", "type": "load_chunk", "subject": "",
        "time": "2021-11-07T02:48:42Z", "dataset": "departments", "data": {},
    }  # fmt: skip
    headers: Any = {"x-death": [{"queue": "ingestor.load_chunk", "reason": "delivery_limit", "count": 1}]}
    body = msgspec.json.encode(envelope)
    await post(stack, DEAD, body, headers=headers)
    last = f"[{uuid4()}".encode()
    await post(stack, DEAD, last)  # which is taken after it

    async def taken() -> Any:
        return await admin.fetchval("SELECT id FROM gateway.dead_letters WHERE data = $1", last)

    letters = [await eventually(taken, SECONDS)]
    if (letter := await admin.fetchval("SELECT id FROM gateway.dead_letters WHERE data = $1", body)) is not None:
        letters.append(letter)
    assert len(letters) == (1 if is_known else 2)
    assert (await settled(stack, "discard", ids=[str(one) for one in letters]))["settled"] == len(letters)


async def test_letters_are_listed_by_filter_and_page_newest_first(
    stack: Stack, admin: asyncpg.Connection, dataset: str
) -> None:
    job = uuid4()
    await insert_letters(admin, "ingestor", dataset, 3, age=1000, job_id=job)
    await insert_letters(admin, "indexer", dataset, 2, age=500, reason="poison", name="chunk.loaded")
    await insert_letters(admin, "analytics", dataset, 1, reason="canceled")
    expected: list[tuple[dict[str, Any], int]] = [
        ({}, 5),
        ({"service": "ingestor"}, 3),
        ({"message": "chunk.loaded"}, 2),
        ({"job": str(job)}, 3),
        ({"reason": "poison"}, 2),
        ({"reason": "canceled"}, 1),
        ({"older_than": 900}, 3),
        ({"newer_than": 900}, 2),
        ({"older_than": 100, "newer_than": 900, "service": "ingestor"}, 0),
        ({"state": "discarded"}, 0),
    ]
    for filters, total in expected:
        assert (await get(stack, PATH, dataset=dataset, **filters))["total"] == total, filters
    pages, after = [], dict[str, str]()
    while True:
        page = await get(stack, PATH, dataset=dataset, limit=2, **after)
        assert page["total"] == 5
        pages.append(page["data"])
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert [len(letters) for letters in pages] == [2, 2, 1]
    letters = [letter for page in pages for letter in page]
    assert [letter["service"] for letter in letters] == ["indexer"] * 2 + ["ingestor"] * 3
    assert letters == sorted(letters, key=lambda letter: letter["died_at"], reverse=True)
    assert len({letter["id"] for letter in letters}) == 5


@pytest.mark.parametrize(
    "after", ["", "x", "1.gateway.x", f"{'9' * 30}.gateway.{UUID(int=1)}", f"1.2.gateway.{UUID(int=1)}"]
)
async def test_what_is_no_cursor_is_refused(stack: Stack, after: str) -> None:
    answer = await stack.client.get(PATH, params={"after": after})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_cursor")


@pytest.mark.parametrize(
    ("data", "payload", "truncated"),
    [
        (b'{"a": 1.10}', {"a": 1.1}, False),
        (b"[" * LARGE, "[" * (16 << 10), True),
        ("é".encode("latin-1"), "�", False),
    ],
    ids=["JSON", "large", "no UTF-8"],
)
async def test_the_payload_is_json_or_the_beginning_of_it(
    stack: Stack, admin: asyncpg.Connection, dataset: str, data: bytes, payload: Any, *, truncated: bool
) -> None:
    await insert_letters(admin, "ingestor", dataset, 1, data=data)
    [letter] = (await get(stack, PATH, dataset=dataset))["data"]
    assert letter["payload"] == payload
    assert (letter["payload_truncated"], letter["payload_bytes"]) == (truncated, len(data))


async def test_letters_are_discarded_by_filter_and_only_those(
    stack: Stack, admin: asyncpg.Connection, dataset: str
) -> None:
    await insert_letters(admin, "ingestor", dataset, MANY)
    await insert_letters(admin, "gateway", dataset, 2, reason="poison")
    await insert_letters(admin, "indexer", dataset, 1, reason="canceled")
    [same] = await admin.fetch("SELECT * FROM ingestor.dead_letters WHERE dataset = $1 LIMIT 1", dataset)
    await insert_letters(admin, "analytics", dataset, 1)  # several services may have given up the same message
    await admin.execute("UPDATE analytics.dead_letters SET id = $1 WHERE dataset = $2", same["id"], dataset)
    accepted = await settle(stack, "discard", wait=0, dataset=dataset, service="ingestor", dry_run=False)
    assert (accepted.status_code, accepted.json()["matched"], accepted.json()["settled"]) == (202, MANY, None)

    async def left() -> Any:
        return (await get(stack, PATH, dataset=dataset))["total"] == 3

    await eventually(left, SECONDS)
    assert (await get(stack, PATH, dataset=dataset, state="discarded"))["total"] == MANY
    rest = await settled(stack, "discard", dataset=dataset)
    assert [(count["service"], count["count"]) for count in rest["by"]] == [("gateway", 2), ("analytics", 1)]
    assert rest["settled"] == 3
    assert (await settled(stack, "discard", dataset=dataset, reason="canceled"))["settled"] == 1
    assert (await settled(stack, "discard", dataset=dataset))["matched"] == 0


async def test_a_repeated_request_with_the_same_key_redrives_once(
    stack: Stack, admin: asyncpg.Connection, dataset: str
) -> None:
    await insert_letters(admin, "ingestor", dataset, 1)  # data that can't be read: it dies again
    key = str(uuid4())
    assert (await settle(stack, "redrive", key=key, dataset=dataset)).json()["settled"] == 1

    async def died_again() -> Any:
        [letter] = (await get(stack, PATH, dataset=dataset))["data"] or [None]
        return letter and letter["redriven"] == 1

    await eventually(died_again, SECONDS)
    again = await settle(stack, "redrive", key=key, dataset=dataset)
    assert (again.status_code, again.json()["settled"]) == (200, 0)
    assert (await settle(stack, "redrive", key=str(uuid4()), dataset=dataset)).json()["settled"] == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "empty_filter"),
        ({"dry_run": True}, 422, "empty_filter"),
        ({"datasett": "departments"}, 422, "invalid_body"),
        ({"ids": ["7"]}, 422, "invalid_body"),
        ({"dataset": "a\0b"}, 422, "invalid_body"),
        ({"older_than": -1}, 422, "invalid_body"),
        ([], 422, "invalid_body"),
    ],
)
async def test_a_request_that_may_mean_too_much_is_refused(stack: Stack, body: Any, status: int, code: str) -> None:
    for verb in ("redrive", "discard"):
        answer = await stack.client.post(f"{PATH}/{verb}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_dead_letters_are_for_admins(stack: Stack) -> None:
    async with connected(stack.env["GATEWAY_DATABASE_URL"], "tests", 1) as pool, pool.acquire() as db:
        key = await api_keys.create(db, "tests, writer", "write")
    async with httpx2.AsyncClient(base_url=stack.url, headers={"Authorization": f"Bearer {key}"}) as writer:
        for answer in (await writer.get(PATH), await writer.post(f"{PATH}/redrive", json={"all": True})):
            assert answer.status_code == 403
