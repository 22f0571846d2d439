"""A full disk under a service: its messages wait without an end, and nothing is missing afterwards."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.acceptance.import_files import get
from tests.stack import Stack
from tests.waiting import eventually

SECONDS = 60.0
FULL = """
CREATE FUNCTION public.full_disk() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION public.full_disk();
"""
TABLES = {
    "ingestor": "data.items",
    "indexer": 'documents."items__{generation}"',
    "analytics": "rollups.items__stock",
}
TRIES = 8
"""More than the attempts that a failing message has."""


@pytest.fixture
async def admin(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(stack.env["DATABASE_URL"])
    yield connection
    await connection.execute("DROP FUNCTION IF EXISTS public.full_disk CASCADE")
    await connection.close()


@pytest.mark.parametrize("service", TABLES)
async def test_what_a_full_disk_held_up_is_done_when_there_is_room(
    stack: Stack, admin: asyncpg.Connection, service: str
) -> None:
    generation = await admin.fetchval(
        "SELECT generation FROM indexer.indexes WHERE dataset = 'items' AND state = 'serving'"
    )
    await admin.execute(FULL.format(table=TABLES[service].format(generation=generation)))
    number = 640_000 + list(TABLES).index(service)
    row = {"id": number, "name": f"Roomless {service}", "category": "room", "price": 1, "quantity": 1}
    answer = await stack.client.post("/v1/datasets/items/rows", json={"rows": [row]})
    assert answer.status_code == 202, answer.text
    job = answer.json()["id"]
    waits: set[Any] = set()

    async def tried_often() -> bool:
        with contextlib.suppress(asyncpg.PostgresError):
            found = await admin.fetchrow(
                f"SELECT due_at, problem FROM {service}.outbox WHERE subject = $1 AND problem IS NOT NULL", job
            )
            if found is not None:
                assert "no space left" in found["problem"]
                waits.add(found["due_at"])
        return len(waits) >= TRIES

    await eventually(tried_often, SECONDS)
    why = await get(stack, f"/v1/jobs/{job}/why")
    assert "no space left" in str(why)
    await admin.execute("DROP FUNCTION public.full_disk CASCADE")

    async def ended() -> dict[str, Any]:
        found: dict[str, Any] = await get(stack, f"/v1/jobs/{job}")
        return found if found["finished_at"] else {}

    done = await eventually(ended, SECONDS)
    assert (done["status"], done["error"]) == ("succeeded", None)
    found = await get(stack, "/v1/datasets/items/search", q=f"roomless {service}", min_version=done["version"])
    assert [hit["row"]["id"] for hit in found["data"]] == [number]
    assert await admin.fetchval("SELECT items FROM rollups.items__stock WHERE category = 'room'") >= 1
    assert await admin.fetchval(f"SELECT count(*) FROM {service}.attempts WHERE job_id = $1", job) == 0
