"""Syncs from the sandbox, on request and by schedule."""

import asyncio
import datetime as dt
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from services.gateway.http import api_keys
from tests.acceptance.import_files import get, imported
from tests.integration.ingestor_runner import connected
from tests.stack import Stack, empty, replica
from tests.waiting import eventually

SECONDS = 30.0
ASKERS = 50
MOST_ROUNDS = 40


@pytest.fixture
async def sandbox(stack: Stack) -> AsyncIterator[httpx2.AsyncClient]:
    """The outside on its first day; nothing of it was pulled yet, and nothing is under way."""
    async with httpx2.AsyncClient(base_url=stack.env["SANDBOX_URL"]) as client:
        (await client.post("/reset")).raise_for_status()
        await empty(stack)
        yield client
        (await client.post("/reset")).raise_for_status()
        await nothing_is_under_way(stack)


@pytest.fixture
async def admin(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(stack.env["DATABASE_URL"])
    yield connection
    await connection.close()


async def nothing_is_under_way(stack: Stack) -> None:
    async def ended() -> bool:
        found = [(await get(stack, "/v1/jobs", status=status))["data"] for status in ("queued", "running")]
        return not any(found)

    await eventually(ended, SECONDS)


async def ask(
    stack: Stack, dataset: str, body: Any = None, *, wait: int | None = None, key: str | None = None
) -> httpx2.Response:
    headers = {"Prefer": f"wait={wait}"} if wait is not None else {}
    if key is not None:
        headers["Idempotency-Key"] = key
    return await stack.client.post(f"/v1/datasets/{dataset}/syncs", json=body, headers=headers)


async def synced(stack: Stack, dataset: str) -> dict[str, int]:
    """The outcome of a sync that went well, without what is 0."""
    answer = await ask(stack, dataset, wait=60)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Preference-Applied"] == "wait=60"
    job = answer.json()
    assert (job["kind"], job["status"], job["error"], job["warning"]) == ("sync", "succeeded", None, None)
    return {word: count for word, count in job["outcome"].items() if count}


async def rows(stack: Stack, dataset: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await get(stack, f"/v1/datasets/{dataset}/rows", limit=500))["data"]
    return found


async def slow(sandbox: httpx2.AsyncClient, path: str) -> None:
    """Makes responses of the sandbox slow until the fault is removed."""
    (await sandbox.put("/faults", json={"path": path, "delay": 0.3})).raise_for_status()


async def make_due(admin: asyncpg.Connection, dataset: str, after: float = -1.0) -> dt.datetime:
    """The next tick of the dataset's schedule is in so many seconds."""
    due_at: dt.datetime = await admin.fetchval(
        "UPDATE gateway.schedules SET next_at = now() + $2::float8 * interval '1 second' WHERE dataset = $1"
        " RETURNING next_at",
        dataset,
        after,
    )
    assert due_at is not None
    return due_at


async def schedule(stack: Stack, dataset: str) -> dict[str, Any]:
    """As it is listed."""

    async def listed() -> dict[str, Any] | None:
        found = (await get(stack, "/v1/schedules"))["data"]
        return next((one for one in found if one["dataset"] == dataset), None)

    found = await eventually(listed, SECONDS)
    assert found is not None
    return found


# Requested


async def test_the_customers_come_from_their_api_and_once_more_only_what_changed(
    stack: Stack, sandbox: httpx2.AsyncClient
) -> None:
    assert await synced(stack, "customers") == {"rows_read": 21, "inserted": 21}
    outside = (await sandbox.get("/api/customers", params={"limit": 100})).json()["data"]
    inside = await rows(stack, "customers")
    assert [row["customer_id"] for row in inside] == [row["customer_id"] for row in outside]
    assert [row["email"] for row in inside] == [row["email"] for row in outside]
    assert await synced(stack, "customers") == {"rows_read": 21, "unchanged": 21}
    await sandbox.put("/world/customers/CUST003", json={"last_name": "Newly"})
    await sandbox.put("/world/customers/CUST900", json={**outside[0], "customer_id": "CUST900"})
    assert await synced(stack, "customers") == {"rows_read": 22, "inserted": 1, "updated": 1, "unchanged": 20}
    found = await get(stack, "/v1/datasets/customers/search", q="newly")
    assert [hit["row"]["customer_id"] for hit in found["data"]] == ["CUST003"]


async def test_contacts_keep_the_id_of_the_crm_and_go_when_they_are_gone_there(
    stack: Stack, sandbox: httpx2.AsyncClient
) -> None:
    await imported(stack, "contacts", "email,first_name\nown@here.example,Own\n")
    assert await synced(stack, "contacts") == {"rows_read": 48, "inserted": 48}
    await sandbox.delete("/world/contacts/NB-0007")
    assert await synced(stack, "contacts") == {"rows_read": 47, "unchanged": 47, "deleted": 1}
    ids = {row["nimbus_id"] for row in await rows(stack, "contacts")}
    assert ids == {None, *(f"NB-{number:04}" for number in range(1, 49))} - {"NB-0007"}


async def test_a_sync_is_accepted_like_an_import(stack: Stack, sandbox: httpx2.AsyncClient) -> None:
    await slow(sandbox, "/api/customers")
    answer = await ask(stack, "customers", {"source": "shop"})
    assert answer.status_code == 202
    job = answer.json()
    assert (job["kind"], job["dataset"], job["source"], job["mode"]) == ("sync", "customers", "shop", "upsert")
    assert answer.headers["Location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["Retry-After"] == "1"
    assert "Millrace-Attached" not in answer.headers
    ended = await stack.client.get(answer.headers["Location"], headers={"Prefer": "wait=30"})
    assert ended.json()["status"] == "succeeded"


async def test_of_many_who_ask_at_once_one_begins_a_sync_and_the_others_are_given_it(
    stack: Stack, sandbox: httpx2.AsyncClient
) -> None:
    await slow(sandbox, "/api/customers")
    before = {job["id"] for job in (await get(stack, "/v1/jobs", dataset="customers", limit=200))["data"]}
    answers = await asyncio.gather(*(ask(stack, "customers") for _ in range(ASKERS)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(answer.headers.get("Millrace-Attached", "") for answer in answers) == ["", *["true"] * (ASKERS - 1)]
    waited = await ask(stack, "customers", wait=60)
    assert (waited.status_code, waited.headers["Millrace-Attached"]) == (200, "true")
    assert waited.json()["id"] == answers[0].json()["id"]
    assert waited.json()["status"] == "succeeded"
    after = {job["id"] for job in (await get(stack, "/v1/jobs", dataset="customers", limit=200))["data"]}
    assert after - before == {waited.json()["id"]}
    later = await ask(stack, "customers", wait=60)
    assert later.json()["id"] not in after
    assert "Millrace-Attached" not in later.headers


async def test_the_same_request_again_is_the_same_sync_even_if_it_was_somebody_elses(
    stack: Stack, sandbox: httpx2.AsyncClient
) -> None:
    key = random.randbytes(8).hex()
    await slow(sandbox, "/api/customers")
    begun = await ask(stack, "customers", key=f"{key}-1")
    attached = await ask(stack, "customers", {"source": "shop"}, key=f"{key}-2")
    assert attached.headers["Millrace-Attached"] == "true"
    await sandbox.delete("/faults")
    await nothing_is_under_way(stack)
    for number, was_attached in ((1, None), (2, "true")):
        again = await ask(stack, "customers", {"source": "shop"}, key=f"{key}-{number}")
        assert (again.status_code, again.json()["id"]) == (200, begun.json()["id"])
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.headers.get("Millrace-Attached") == was_attached
        other = await ask(stack, "contacts", key=f"{key}-{number}")
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("dataset", "content", "status", "code"),
    [
        ("nothing", b"", 404, "not_found"),
        ("customers", b'{"source": "crm"}', 404, "not_found"),
        ("jobs", b"", 422, "source_missing"),
        ("jobs", b'{"source": "crm"}', 404, "not_found"),
        ("customers", b'{"sauce": "shop"}', 422, "invalid_body"),
        ("customers", b'{"source": 1}', 422, "invalid_body"),
        ("customers", b'["shop"]', 422, "invalid_body"),
        ("customers", b'{"source": ', 400, "invalid_json"),
        ("customers", b'{"source": "\xff"}', 400, "invalid_json"),
        ("customers", b" " * 100_000, 413, "too_large"),
    ],
)
async def test_what_can_not_be_pulled_is_refused_with_what_can(
    stack: Stack, dataset: str, content: bytes, status: int, code: str
) -> None:
    answer = await stack.client.post(f"/v1/datasets/{dataset}/syncs", content=content)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    if "source" in answer.json()["detail"] and dataset == "customers" and status == 404:
        assert "customers has the sources shop." in answer.json()["hint"]


async def test_who_may_only_read_starts_nothing(stack: Stack) -> None:
    async with connected(stack.env["GATEWAY_DATABASE_URL"], "tests", 1) as pool, pool.acquire() as db:
        key = await api_keys.create(db, "reader", "read")
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(base_url=stack.url, headers=headers) as reader:
        assert (await reader.post("/v1/datasets/customers/syncs")).status_code == 403
        assert (await reader.get("/v1/datasets/customers/sources")).status_code == 200
        assert (await reader.get("/v1/schedules")).status_code == 200


@pytest.mark.usefixtures("sandbox")
async def test_the_sources_of_a_dataset_are_listed_without_their_secrets(stack: Stack) -> None:
    await schedule(stack, "contacts")
    await synced(stack, "contacts")
    answer = await stack.client.get("/v1/datasets/contacts/sources")
    assert answer.status_code == 200
    (crm,) = answer.json()["data"]
    assert (crm["name"], crm["declaration"]["auth"]) == ("crm", {"type": "bearer", "secret": "crm_token"})
    assert crm["declaration"]["schedule"]["cron"] == "0 0 * * *"
    assert crm["cursor"] is None
    assert dt.datetime.fromisoformat(crm["next_at"]).time() == dt.time()
    assert (crm["last_job"]["kind"], crm["last_job"]["status"]) == ("sync", "succeeded")
    (shop,) = (await get(stack, "/v1/datasets/customers/sources"))["data"]
    assert (shop["name"], shop["next_at"]) == ("shop", None)
    assert (await get(stack, "/v1/datasets/jobs/sources"))["data"] == []
    assert (await stack.client.get("/v1/datasets/nothing/sources")).status_code == 404


# When it is time


@pytest.mark.usefixtures("sandbox")
async def test_contacts_come_nightly_and_each_tick_is_accounted_for(stack: Stack, admin: asyncpg.Connection) -> None:
    found = await schedule(stack, "contacts")
    assert (found["source"], found["cron"], found["timezone"]) == ("crm", "0 0 * * *", "UTC")
    assert (found["overlap"], found["catch_up_seconds"]) == ("skip", 3600)
    due_at = await make_due(admin, "contacts")

    async def ran() -> dict[str, Any] | None:
        ticks = (await schedule(stack, "contacts"))["ticks"]
        return ticks[0] if ticks and dt.datetime.fromisoformat(ticks[0]["due_at"]) == due_at else None

    tick = await eventually(ran, SECONDS)
    assert tick is not None
    assert tick["fate"] == "ran"
    job = (await stack.client.get(tick["links"]["job"], headers={"Prefer": "wait=30"})).json()
    assert (job["id"], job["kind"], job["source"], job["status"]) == (tick["job_id"], "sync", "crm", "succeeded")
    assert job["outcome"]["inserted"] == 48
    found = await schedule(stack, "contacts")
    assert dt.datetime.fromisoformat(found["next_at"]).time() == dt.time()
    assert len(found["ticks"]) <= 5


async def test_a_tick_is_skipped_while_somebodys_sync_is_under_way(
    stack: Stack, sandbox: httpx2.AsyncClient, admin: asyncpg.Connection
) -> None:
    await schedule(stack, "contacts")
    # The sync can't end before the outside is well again.
    (await sandbox.put("/faults", json={"path": "/contacts", "status": 503, "retry_after": 1})).raise_for_status()
    manual = (await ask(stack, "contacts")).json()
    due_at = await make_due(admin, "contacts")
    decide = "SELECT fate, job_id FROM gateway.ticks WHERE dataset = 'contacts' AND due_at = $1"
    found = await eventually(lambda: admin.fetchrow(decide, due_at), SECONDS)
    assert found is not None
    assert (found["fate"], str(found["job_id"])) == ("skipped", manual["id"])
    assert (await schedule(stack, "contacts"))["ticks"][0]["links"] == {"job": manual["links"]["self"]}
    await sandbox.delete("/faults")


@pytest.mark.usefixtures("sandbox", "faults")
async def test_two_gateways_fire_each_tick_once_and_one_may_die(
    stack: Stack, admin: asyncpg.Connection, tmp_path: Path
) -> None:
    await schedule(stack, "contacts")
    log = tmp_path / "log"
    chance = random.Random(7)
    due: list[dt.datetime] = []
    decide = "SELECT fate FROM gateway.ticks WHERE dataset = 'contacts' AND due_at = $1"

    async def fire() -> None:
        due.append(await make_due(admin, "contacts", chance.random()))
        assert await eventually(lambda: admin.fetchval(decide, due[-1]), SECONDS)

    def fired_by_the_other() -> int:
        return log.read_text().count('"fate"') if log.exists() else 0

    with replica(stack, "gateway", log) as other:
        while len(due) < MOST_ROUNDS and not (3 <= fired_by_the_other() <= len(due) - 3):
            await fire()
        assert 3 <= fired_by_the_other() <= len(due) - 3, log.read_text()[-2000:]
        other.kill()
        for _ in range(3):
            await fire()
    await nothing_is_under_way(stack)
    ticks = await admin.fetch("SELECT fate, job_id FROM gateway.ticks WHERE due_at = ANY($1)", due)
    assert len(ticks) == len(due)
    ran = [tick["job_id"] for tick in ticks if tick["fate"] == "ran"]
    assert {tick["fate"] for tick in ticks} <= {"ran", "skipped"}
    assert len(set(ran)) == len(ran) >= 1
    scheduled = await admin.fetch(
        "SELECT id FROM gateway.jobs WHERE api_key IS NULL AND source = 'crm' AND created_at >= $1",
        due[0] - dt.timedelta(seconds=1),
    )
    assert {job["id"] for job in scheduled} == set(ran)


# The command


@pytest.mark.usefixtures("sandbox")
async def test_the_command_pulls_a_source_and_lists_what_is_scheduled(stack: Stack) -> None:
    done = await asyncio.to_thread(stack.millrace, "sync", "-d", "customers", "shop")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stdout
    assert "21" in done.stdout
    done = await asyncio.to_thread(stack.millrace, "sync", "-d", "jobs")
    assert done.returncode == 1
    assert "jobs has no sources" in done.stderr
    await schedule(stack, "contacts")
    done = await asyncio.to_thread(stack.millrace, "schedules")
    assert done.returncode == 0, done.stderr
    assert any(line.startswith("contacts") and "0 0 * * *" in line for line in done.stdout.splitlines())
