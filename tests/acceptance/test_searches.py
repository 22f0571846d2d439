"""POST /v1/searches: a search as a job; its result is read page by page and expires after a day."""

import asyncio
import os
import signal
from decimal import Decimal
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import msgspec
import pytest

from tests.acceptance.import_files import get, imported
from tests.acceptance.test_refusals import problem
from tests.stack import Stack, empty
from tests.waiting import eventually

SECONDS = 60.0
EXACT = msgspec.json.Decoder(float_hook=Decimal)
ROWS = 260


@pytest.fixture(autouse=True)
async def _chairs(stack: Stack) -> None:
    """Every fifth is a table."""
    await empty(stack)
    lines = [
        f"{number},{'Table' if number % 5 == 0 else 'Chair'} {number},{'oak' if number % 2 else 'ash'},{number}.10"
        for number in range(1, ROWS + 1)
    ]
    job = await imported(stack, "items", "\n".join(["id,name,category,price", *lines]))
    assert job["status"] == "succeeded", job


async def search(stack: Stack, *, prefer: str = "wait=60", key: str | None = None, **fields: Any) -> httpx2.Response:
    headers = {"Prefer": prefer} | ({"Idempotency-Key": key} if key else {})
    return await stack.client.post("/v1/searches", json={"dataset": "items", **fields}, headers=headers)


async def succeeded(stack: Stack, **fields: Any) -> dict[str, Any]:
    answer = await search(stack, **fields)
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    assert (job["kind"], job["status"], job["phase"], job["mode"]) == ("search", "succeeded", "done", None)
    return job


def ids(result: dict[str, Any]) -> list[int]:
    return [hit["row"]["id"] for hit in result["data"]]


async def test_an_answer_is_there_with_the_job_when_one_waits_for_it(stack: Stack) -> None:
    answer = await search(stack, q="chair", facets=["category"], highlight=["name"], filters={"price": "lte.5"})
    assert answer.status_code == 200, answer.text
    job = answer.json()
    assert answer.headers["preference-applied"] == "wait=60"
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    result = job["result"]
    assert (job["expired"], job["progress"]["percent"], job["outcome"]["rows_read"]) == (False, 100.0, 0)
    assert (ids(result), result["hits"], result["total"]) == ([1, 2, 3, 4], 4, {"value": 4, "relation": "eq"})
    assert result["data"][0]["highlight"] == {"name": ["<mark>Chair</mark> 1"]}
    assert [(one["value"], one["count"]) for one in result["facets"]["category"]["values"]] == [("ash", 2), ("oak", 2)]
    assert (result["page"], result["limit"], result["next"]) == (1, 10, None)
    assert job["version"] == result["meta"]["version"] == result["meta"]["dataset_version"] > 0
    assert (await stack.client.get(answer.headers["location"])).json() == job


async def test_a_search_is_accepted_before_it_is_answered(stack: Stack) -> None:
    answer = await search(stack, q="chair", prefer="return=minimal")
    assert answer.status_code == 202
    assert answer.headers["retry-after"]
    assert "preference-applied" not in answer.headers
    job = answer.json()
    assert (job["status"], job["phase"], job["version"]) == ("queued", "search", None)
    assert (job["result"], job["expired"]) == (None, False)
    ended = (await stack.client.get(answer.headers["location"], headers={"Prefer": "wait=60"})).json()
    assert ended["status"] == "succeeded"
    jobs = (await get(stack, "/v1/jobs", dataset="items", limit=200))["data"]
    (listed,) = (one for one in jobs if one["id"] == job["id"])
    assert "result" not in listed
    assert await types(stack, job["id"]) == ["job.created", "job.started", "job.succeeded"]


async def types(stack: Stack, job: str) -> list[str]:
    """Of its public events."""
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    rows = await db.fetch("SELECT type FROM gateway.events WHERE job_id = $1 ORDER BY sequence", job)
    await db.close()
    return [row["type"] for row in rows]


@pytest.mark.parametrize("limit", [7, 50, 200])
async def test_pages_are_the_answer_of_one_moment_cut_into_pieces(stack: Stack, limit: int) -> None:
    job = await succeeded(stack, q="chair", sort="price.desc")
    await imported(stack, "items", "id,name,price\n1,Gone,1\n1000,Chair,1000\n")
    found: list[int] = []
    page = 0
    while len(found) < job["result"]["hits"]:
        page += 1
        body = await get(stack, f"/v1/jobs/{job['id']}", page=page, limit=limit)
        assert (body["result"]["page"], body["result"]["limit"]) == (page, limit)
        found += ids(body["result"])
        assert body["result"]["total"] == {"value": 208, "relation": "eq"}
    assert found == [number for number in range(ROWS, 0, -1) if number % 5]
    assert ids((await get(stack, f"/v1/jobs/{job['id']}", page=page + 1, limit=limit))["result"]) == []


async def test_an_answer_is_the_same_as_at_once_exact_numbers_too(stack: Stack) -> None:
    await imported(stack, "items", 'id,name,price\n9000,"Sofa <b>",9999999999.10\n')
    fields = {"q": "sofa or chair", "sort": "price.desc", "highlight": ["name"], "limit": 200}
    at_once = EXACT.decode((await stack.client.post("/v1/datasets/items/search", json=fields)).content)
    job = await succeeded(stack, **fields)
    path = f"/v1/jobs/{job['id']}"
    kept = EXACT.decode((await stack.client.get(path, params={"limit": 200})).content)["result"]
    assert kept["data"] == at_once["data"]
    assert str(kept["data"][0]["row"]["price"]) == "9999999999.10"
    assert list(kept["data"][0]["row"]) == list(at_once["data"][0]["row"])
    assert (kept["total"], kept["next"]) == (at_once["total"], at_once["next"])
    assert kept["meta"] | {"seconds": 0} == at_once["meta"] | {"seconds": 0}


async def test_only_so_many_hits_are_kept_and_the_cursor_leads_on(stack: Stack) -> None:
    first = (await succeeded(stack, q="chair", sort="id", limit=5))["result"]
    assert (first["hits"], first["total"]["value"], ids(first)) == (5, 208, [1, 2, 3, 4, 6])
    second = (await succeeded(stack, q="chair", sort="id", limit=5, cursor=first["next"]))["result"]
    assert ids(second) == [7, 8, 9, 11, 12]


async def test_the_same_key_is_the_same_search(stack: Stack) -> None:
    key = str(uuid4())
    first = await search(stack, q="chair", key=key)
    again = await search(stack, q="chair", key=key)
    assert again.json() == first.json()
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    problem(await search(stack, q="table", key=key), 422, "idempotency_key_reused")


async def test_an_answer_is_gone_when_it_has_expired(stack: Stack) -> None:
    job = await succeeded(stack, q="chair")
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    kept = await db.fetchval(
        "SELECT expires_at - made_at = interval '24 hours' FROM indexer.searches WHERE job_id = $1", job["id"]
    )
    assert kept
    await db.execute("UPDATE indexer.searches SET expires_at = now() WHERE job_id = $1", job["id"])
    expired = await get(stack, f"/v1/jobs/{job['id']}")
    assert (expired["status"], expired["result"], expired["expired"]) == ("succeeded", None, True)

    async def swept() -> bool:
        return not await db.fetchval("SELECT true FROM indexer.searches WHERE job_id = $1", job["id"])

    await eventually(swept, 90)  # retention looks once a minute
    assert (await get(stack, f"/v1/jobs/{job['id']}"))["expired"] is True
    await db.close()


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"q": "chair", "dataset": "nothing"}, 404, "not_found"),
        ({"q": "chair", "words": ["chair"]}, 422, "unfit_parameter"),
        ({"q": "chair", "fields": ["price"]}, 422, "unknown_field"),
        ({"q": "chair", "filters": {"prize": "gte.1"}}, 422, "unknown_parameter"),
        ({"q": "chair", "filters": {"price": "gte.x"}}, 422, "invalid_query"),
        ({"q": "chair", "min_version": 1 << 40}, 422, "unknown_version"),
        ({"q": "chair", "limit": 1001}, 422, "invalid_request"),
        ({"q": "chair", "page": 2}, 422, "invalid_request"),
    ],
)
async def test_what_can_be_known_beforehand_is_refused_at_once(
    stack: Stack, fields: dict[str, Any], status: int, code: str
) -> None:
    problem(await search(stack, **fields), status, code)


async def test_only_a_search_has_pages(stack: Stack) -> None:
    (other,) = (await get(stack, "/v1/jobs", limit=1))["data"]
    answer = await stack.client.get(f"/v1/jobs/{other['id']}", params={"page": 2})
    assert "has no pages: its kind is import" in str(problem(answer, 422, "unfit_parameter")["detail"])


async def test_a_job_has_the_version_with_which_one_finds_what_it_wrote(stack: Stack) -> None:
    for number in range(20):
        rows = [{"id": 5000 + number, "name": f"Stool {number}", "price": 1}]
        accepted = await stack.client.post("/v1/datasets/items/rows", json={"rows": rows})
        job = accepted.json()

        async def version(job: dict[str, Any] = job) -> int | None:
            found: int | None = (await get(stack, f"/v1/jobs/{job['id']}"))["version"]
            return found

        seen = await eventually(version, SECONDS)  # which may be before the rows are indexed
        answer = await stack.client.get(
            "/v1/datasets/items/search",
            params={"q": f'"stool {number}"', "min_version": seen},
            headers={"Prefer": "wait=30"},
        )
        assert ids(answer.json()) == [5000 + number]
        kept = await succeeded(stack, q=f'"stool {number}"', min_version=seen)
        assert ids(kept["result"]) == [5000 + number]
        assert kept["version"] >= seen


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("faults")
async def test_a_search_whose_indexer_is_killed_ends_when_it_is_back(stack: Stack) -> None:
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    held = db.transaction()
    await held.start()
    # No process can store the answer: the search is under way for as long as this transaction is.
    await db.execute("LOCK TABLE indexer.searches IN SHARE MODE")
    accepted = (await search(stack, q="chair", prefer="wait=0")).json()

    async def under_way() -> bool:
        waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'indexer.searches'::regclass AND NOT granted"
        return bool(await db.fetchval(waiting))

    await eventually(under_way, SECONDS)
    killed = stack.pid("indexer")
    os.kill(killed, signal.SIGKILL)
    await held.rollback()
    job = (await stack.client.get(f"/v1/jobs/{accepted['id']}", headers={"Prefer": "wait=60"})).json()
    assert (job["status"], job["result"]["hits"]) == ("succeeded", 208)
    assert stack.pid("indexer") != killed
    assert await types(stack, job["id"]) == ["job.created", "job.started", "job.succeeded"]
    assert await db.fetchval("SELECT count(*) FROM indexer.searches WHERE job_id = $1", job["id"]) == 1
    await db.close()


async def test_many_searches_at_once_all_end(stack: Stack) -> None:
    jobs = await asyncio.gather(*(succeeded(stack, words=[str(number)]) for number in range(1, 41)))
    assert [ids(job["result"]) for job in jobs] == [[number] for number in range(1, 41)]
