"""The chunks of one file are loaded in parallel by all workers of all ingestors."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from services.ingestor.app import AT_ONCE
from tests.acceptance.import_files import forget, get
from tests.stack import Stack, replica
from tests.waiting import eventually

SECONDS = 30.0
ROWS, WIDTH = 60_000, 1000
NAME = "wide_things"
DECLARATION = {
    "title": "Rows that fill chunks",
    "primary_key": ["id"],
    "fields": [{"name": "id", "type": "integer", "required": True}, {"name": "text", "type": "string"}],
}


@pytest.fixture
async def admin(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    yield db
    await db.close()
    await forget(stack, NAME)


async def test_the_chunks_of_one_file_are_loaded_by_all_workers_of_all_ingestors(
    stack: Stack, admin: asyncpg.Connection, tmp_path: Path
) -> None:
    """Held up by a lock on the table, so that all who could load do, and are seen."""
    assert (await stack.client.put(f"/v1/datasets/{NAME}", json=DECLARATION)).is_success

    async def loading() -> int:
        count: int = await admin.fetchval(
            f"SELECT count(*) FROM pg_locks WHERE relation = 'data.{NAME}'::regclass AND NOT granted"
        )
        return count

    lock = admin.transaction()
    await lock.start()
    await admin.execute(f"LOCK TABLE data.{NAME} IN SHARE MODE")
    answer = await stack.client.post(
        f"/v1/datasets/{NAME}/imports",
        content="".join(f"{number},{'x' * WIDTH}\n" for number in range(ROWS)).encode(),
        headers={"Content-Type": "text/csv"},
    )
    job = answer.json()

    async def all_of_one_load() -> bool:
        return await loading() == AT_ONCE

    async def all_of_both_load() -> bool:
        return await loading() == 2 * AT_ONCE

    assert AT_ONCE >= 2
    assert await eventually(all_of_one_load, SECONDS)
    with replica(stack, "ingestor", tmp_path / "log"):
        assert await eventually(all_of_both_load, SECONDS)
        await lock.rollback()
        ended = await stack.client.get(job["links"]["self"], headers={"Prefer": "wait=60"})
    assert (ended.json()["status"], ended.json()["outcome"]["inserted"]) == ("succeeded", ROWS)
    assert (await get(stack, f"/v1/datasets/{NAME}/rows", limit=1))["total"] == ROWS
