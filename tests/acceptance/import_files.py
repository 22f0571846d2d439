"""Helpers of acceptance tests: import text, read the job, its failed rows and documents."""

from typing import Any

import asyncpg
import httpx2

from tests.stack import Stack


async def send(
    stack: Stack, dataset: str, content: str | bytes, *, wait: int = 60, **parameters: str
) -> httpx2.Response:
    """POST the file raw, and wait for the job."""
    return await stack.client.post(
        f"/v1/datasets/{dataset}/imports",
        content=content.encode() if isinstance(content, str) else content,
        params=parameters,
        headers={"Content-Type": "text/csv", "Prefer": f"wait={wait}"},
    )


async def imported(
    stack: Stack, dataset: str, content: str | bytes, *, wait: int = 60, **parameters: str
) -> dict[str, Any]:
    """The job, ended; its books must balance."""
    answer = await send(stack, dataset, content, wait=wait, **parameters)
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    outcome = job["outcome"]
    fates = ("inserted", "updated", "unchanged", "duplicates", "failed")
    assert outcome["rows_read"] == sum(outcome[fate] for fate in fates)
    return job


async def failed_rows(stack: Stack, job: dict[str, Any]) -> list[dict[str, Any]]:
    """All of them, page by page."""
    found: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = (await stack.client.get(job["links"]["failed_rows"], params={"limit": 500, "after": after})).json()
        found += page["data"]
        after = page["next"]
    return found


async def get(stack: Stack, path: str, **parameters: Any) -> Any:
    """The JSON of a good answer."""
    answer = await stack.client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def count_documents(db: asyncpg.Connection, name: str, condition: str = "true") -> int:
    """Of the generation that answers."""
    generation = await db.fetchval(
        "SELECT generation FROM indexer.indexes WHERE dataset = $1 AND state = 'serving'", name
    )
    count: int = await db.fetchval(f'SELECT count(*) FROM documents."{name}__{generation}" WHERE {condition}')
    return count


async def forget(stack: Stack, name: str) -> None:
    """Nothing is left of a dataset that a test has declared."""
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    made = await db.fetch(
        "SELECT format('documents.%I', tablename) AS name FROM pg_tables WHERE schemaname = 'documents'"
        " AND tablename ~ ('^' || $1 || '__[0-9]+[wn]?$')",
        name,
    )
    made += await db.fetch(
        "SELECT format('rollups.%I', tablename) AS name FROM pg_tables WHERE schemaname = 'rollups'"
        " AND tablename ~ ('^' || $1 || '__')",
        name,
    )
    for table in (f"data.{name}", *(table["name"] for table in made)):
        await db.execute(f"DROP TABLE IF EXISTS {table}")
    for table in ("indexer.indexes", "indexer.freshness", "analytics.rollups", "analytics.freshness"):
        await db.execute(f"DELETE FROM {table} WHERE dataset = $1", name)
    for table in ("chunks", "imports", "datasets"):
        column = "name" if table == "datasets" else "dataset"
        await db.execute(f"DELETE FROM ingestor.{table} WHERE {column} = $1", name)
    await db.close()
