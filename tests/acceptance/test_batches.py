"""POST /v1/datasets/{dataset}/rows: up to a thousand rows, each with its own result."""

import asyncio
import json
from collections import Counter
from typing import Any

import asyncpg
import httpx2
import pytest

from tests.acceptance.import_files import failed_rows, get, imported
from tests.acceptance.test_refusals import problem
from tests.stack import Stack, empty

ITEM = {"id": 1, "name": "Chair", "price": 9.99}
LIMIT = 8 << 20


@pytest.fixture(autouse=True)
async def _nothing_is_there(stack: Stack) -> None:
    await empty(stack)


async def post(
    stack: Stack, dataset: str, content: Any, *, prefer: str = "wait=60", key: str | None = None
) -> httpx2.Response:
    """Rows, or a body as it is."""
    body = content if isinstance(content, str | bytes) else json.dumps({"rows": content})
    headers = {"Content-Type": "application/json", "Prefer": prefer} | ({"Idempotency-Key": key} if key else {})
    return await stack.client.post(f"/v1/datasets/{dataset}/rows", content=body, headers=headers)


async def loaded(stack: Stack, dataset: str, content: Any) -> dict[str, Any]:
    """The job, ended; its books balance."""
    answer = await post(stack, dataset, content)
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    outcome = job["outcome"]
    fates = ("inserted", "updated", "unchanged", "duplicates", "failed", "checked")
    assert outcome["rows_read"] == sum(outcome[fate] for fate in fates)
    return job


async def items(stack: Stack) -> dict[int, dict[str, Any]]:
    found = await get(stack, "/v1/datasets/items/rows", limit=1000)
    return {row["id"]: row for row in found["data"]}


async def refused(stack: Stack, job: dict[str, Any]) -> dict[int, tuple[str, set[tuple[str, str]]]]:
    """Text and errors of the failed rows, by line."""
    return {
        row["line"]: (row["raw"], {(error["code"], error["column"]) for error in row["errors"]})
        for row in await failed_rows(stack, job)
    }


def counts(job: dict[str, Any]) -> dict[str, int]:
    """Those that are not 0."""
    return {word: count for word, count in job["outcome"].items() if count}


async def test_a_batch_is_a_job_that_loads_its_rows(stack: Stack) -> None:
    rows = [{**ITEM, "id": number, "name": f"Chair {number}"} for number in range(1, 1001)]
    answer = await post(stack, "items", rows)
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=60"
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["mode"], job["status"]) == ("rows", "upsert", "succeeded")
    assert counts(job) == {"rows_read": 1000, "inserted": 1000}
    assert job["progress"]["bytes_done"] == job["progress"]["bytes_total"] > 0
    assert len(await items(stack)) == 1000
    found = await get(stack, "/v1/datasets/items/search", q='"chair 777"')
    assert [hit["row"]["id"] for hit in found["data"]] == [777]
    again = await loaded(stack, "items", [rows[0], {**rows[1], "price": 1}, {"id": 2000, "name": "New", "price": "3"}])
    assert counts(again) == {"rows_read": 3, "unchanged": 1, "updated": 1, "inserted": 1}
    assert (await get(stack, "/v1/jobs", dataset="items", limit=1))["data"][0]["id"] == again["id"]


async def test_a_batch_is_accepted_before_it_is_loaded(stack: Stack) -> None:
    answer = await post(stack, "items", [ITEM], prefer="return=minimal")
    assert answer.status_code == 202
    assert answer.headers["retry-after"]
    assert "preference-applied" not in answer.headers
    ended = await stack.client.get(answer.headers["location"], headers={"Prefer": "wait=60"})
    assert ended.json()["status"] == "succeeded"


@pytest.mark.parametrize("rows", [0, 1001])
async def test_a_batch_has_one_to_a_thousand_rows(stack: Stack, rows: int) -> None:
    body = problem(await post(stack, "items", [ITEM] * rows), 422, "batch_size")
    assert f"has {rows}." in str(body["detail"])
    assert await items(stack) == {}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"not json", 400, "invalid_json"),
        (b'{"rows": [{"id": 1}', 400, "invalid_json"),
        (b'{"rows": [{"id": 1}]} {}', 400, "invalid_json"),
        (b'{"rows": [{"id": 1,}]}', 400, "invalid_json"),
        (b'{"rows": [{"id": 01}]}', 400, "invalid_json"),
        (b'{"rows": [{"name": "\xff"}]}', 400, "invalid_json"),
        (b'{"rows": [{"name": "\\x"}]}', 400, "invalid_json"),
        (b'{"rows": [{"name": "a\nb"}]}', 400, "invalid_json"),
        (b'{"rows": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}", 400, "invalid_json"),
        (b'{"rows": [{"name": "\\ud83d"}]}', 400, "invalid_json"),
        (b"[" * 100_000, 422, "invalid_body"),
        (b'{"id": 1}', 422, "invalid_body"),
        (b'[{"id": 1}]', 422, "invalid_body"),
        (b'{"rows": {"id": 1}}', 422, "invalid_body"),
        (b'{"rows": [{"id": 1}], "mode": "replace"}', 422, "invalid_body"),
        (b"{}", 422, "invalid_body"),
        (b"null", 422, "invalid_body"),
    ],
    ids=lambda value: value[:25].decode("latin-1") if isinstance(value, bytes) else None,
)
async def test_a_body_that_is_no_batch_is_refused(stack: Stack, body: bytes, status: int, code: str) -> None:
    problem(await post(stack, "items", body), status, code)


async def test_there_must_be_such_a_dataset(stack: Stack) -> None:
    problem(await post(stack, "nothing", [ITEM]), 404, "not_found")


async def test_a_batch_may_have_eight_megabytes(stack: Stack) -> None:
    text = "x" * 8100
    rows = [{**ITEM, "id": number, "description": text} for number in range(1000)]
    body = json.dumps({"rows": rows})
    assert LIMIT - 300_000 < len(body) < LIMIT
    job = await loaded(stack, "items", body)
    assert counts(job) == {"rows_read": 1000, "inserted": 1000}
    body = body.ljust(LIMIT)
    assert counts(await loaded(stack, "items", body)) == {"rows_read": 1000, "unchanged": 1000}
    answer = await post(stack, "items", body + " ")
    assert problem(answer, 413, "too_large")["limit_bytes"] == LIMIT


async def test_one_row_may_have_a_megabyte(stack: Stack) -> None:
    rows = [{**ITEM, "description": "x" * 1_000_000}, {**ITEM, "id": 2, "description": "x" * (1 << 20)}]
    job = await loaded(stack, "items", rows)
    assert counts(job) == {"rows_read": 2, "inserted": 1, "failed": 1}
    assert {line: errors for line, (_, errors) in (await refused(stack, job)).items()} == {2: {("too_large", "")}}


async def test_what_is_wrong_with_a_row_costs_that_row(stack: Stack) -> None:
    texts = [
        '{"id": 1, "name": "Chair", "price": 5}',
        "5",
        "null",
        "[1, 2]",
        '"id"',
        "{}",
        '{"id": 7, "name": "Chair", "price": 5, "colour": "red", "size": 3}',
        '{"id": 8, "name": "A\\u0000B", "price": 5}',
        '{"id": 9, "name": "Chair", "price": 5, "category": false}',
        '{"id": 10, "name": "\\ud83d\\ude00", "price": 5}',
        '{"id": 9223372036854775808, "name": "Chair", "price": 5}',
        '{"id": 12, "name": "Chair", "price": 1e400}',
        '{"id": 13, "name": "Chair", "price": 0.001}',
        '{"id": 14, "name": {"en": "Chair"}, "price": [5]}',
        '{"id": 15.5, "name": true, "price": "five", "quantity": -1}',
        '{"id": 16, "name": "Chair", "price": 5, "name": "Table"}',
        '{\n  "id": 17,\n  "name": "Ch\\nair",\n  "price": 5\n}',
    ]
    job = await loaded(stack, "items", '{"rows": [' + ", ".join(texts) + "]}")
    assert job["status"] == "partial"
    assert counts(job) == {"rows_read": 17, "inserted": 5, "failed": 12}
    assert {number: row["name"] for number, row in (await items(stack)).items()} == {
        1: "Chair",
        9: "Chair",
        10: "\N{GRINNING FACE}",
        16: "Table",
        17: "Ch\nair",
    }
    found = await refused(stack, job)
    assert {line: errors for line, (_, errors) in found.items()} == {
        2: {("not_an_object", "")},
        3: {("not_an_object", "")},
        4: {("not_an_object", "")},
        5: {("not_an_object", "")},
        6: {("required", "id"), ("required", "name"), ("required", "price")},
        7: {("unknown_field", "colour"), ("unknown_field", "size")},
        8: {("nul_byte", "name")},
        11: {("type", "id")},
        12: {("type", "price")},
        13: {("type", "price")},
        14: {("type", "name"), ("type", "price")},
        15: {("type", "id"), ("type", "price"), ("minimum", "quantity")},
    }
    assert all(json.loads(raw) == json.loads(texts[line - 1]) for line, (raw, _) in found.items())
    totals = await get(stack, job["links"]["failed_rows"])
    assert totals["data"][0]["raw"] == "5"


async def test_numbers_are_kept_to_the_last_digit(stack: Stack) -> None:
    body = (
        '{"rows": [{"id": 9007199254740993, "name": "a", "price": 9999999999.99},'
        ' {"id": -9223372036854775808, "name": "b", "price": "0.10"}, {"id": "12", "name": "c", "price": 0.30}]}'
    )
    assert counts(await loaded(stack, "items", body)) == {"rows_read": 3, "inserted": 3}
    answer = await stack.client.get("/v1/datasets/items/rows", params={"limit": 10})
    assert "9999999999.99" in answer.text
    assert {row["id"] for row in answer.json()["data"]} == {9007199254740993, -9223372036854775808, 12}
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    try:
        prices = await db.fetch("SELECT price::text FROM data.items ORDER BY price")
    finally:
        await db.close()
    assert [row["price"] for row in prices] == ["0.10", "0.30", "9999999999.99"]


async def test_strictly_all_rows_are_loaded_or_none(stack: Stack) -> None:
    await loaded(stack, "items", [{"id": 1, "name": "Old", "price": 5}])
    rows: list[Any] = [{"id": number, "name": "New", "price": 5} for number in range(1, 21)]
    rows[17] = {"id": 18, "name": None, "price": -1}
    rows[19] = {"id": 20, "name": "New", "price": 5, "a/b~c": 1}
    answer = await post(stack, "items", rows, prefer="handling=strict")
    body = problem(answer, 422, "rows_refused")
    errors: Any = body["errors"]
    assert {(error["pointer"], error["code"], error["column"]) for error in errors} == {
        ("#/rows/17/name", "required", "name"),
        ("#/rows/17/price", "minimum", "price"),
        ("#/rows/19/a~1b~0c", "unknown_field", "a/b~c"),
    }
    assert body["detail"] == "2 of 20 rows can't be loaded, so none was."
    assert {number: row["name"] for number, row in (await items(stack)).items()} == {1: "Old"}
    job = (await get(stack, "/v1/jobs", dataset="items", limit=1))["data"][0]
    assert (job["status"], job["error"]["code"]) == ("failed", "rows_refused")
    assert job["id"] in str(body["hint"])
    assert sorted(await refused(stack, job)) == [18, 20]
    assert counts(job) == {"rows_read": 20, "checked": 18, "failed": 2}

    rows[17] = rows[19] = {"id": 18, "name": "New", "price": 1}
    answer = await post(stack, "items", rows, prefer="handling=strict, wait=30")
    assert answer.status_code == 200, answer.text
    assert answer.headers["preference-applied"] == "handling=strict, wait=30"
    assert counts(answer.json()) == {"rows_read": 20, "inserted": 18, "updated": 1, "duplicates": 1}


async def test_leniently_the_good_rows_are_loaded(stack: Stack) -> None:
    rows = [ITEM, {"id": 2, "name": "Table", "price": -5}]
    answer = await post(stack, "items", rows, prefer="handling=lenient, wait=60")
    assert answer.status_code == 200
    job = answer.json()
    assert (job["status"], counts(job)) == ("partial", {"rows_read": 2, "inserted": 1, "failed": 1})
    assert await refused(stack, job) == {2: ('{"id":2,"name":"Table","price":-5}', {("minimum", "price")})}


async def test_of_bad_rows_alone_the_job_has_failed(stack: Stack) -> None:
    job = await loaded(stack, "items", [{"id": "x"}])
    assert (job["status"], job["error"]["code"]) == ("failed", "all_rows_failed")


async def test_fields_that_no_row_names_keep_their_values(stack: Stack) -> None:
    full = {**ITEM, "category": "wood", "quantity": 5, "description": "Round"}
    await loaded(stack, "items", [full, {**full, "id": 2}])
    job = await loaded(stack, "items", [{**ITEM, "price": 1}, {**ITEM, "id": 2, "quantity": 7}])
    assert counts(job) == {"rows_read": 2, "updated": 2}
    found = await items(stack)
    # Some row names the quantity, so the other one says that it has none.
    assert [(found[n]["category"], found[n]["quantity"], found[n]["price"]) for n in (1, 2)] == [
        ("wood", None, 1.00),
        ("wood", 7, 9.99),
    ]


async def test_rows_of_a_dataset_whose_key_postgres_numbers_are_added(stack: Stack) -> None:
    rows = [{"content": "Once upon a time"}] * 2
    job = await loaded(stack, "paragraphs", rows)
    assert (job["mode"], counts(job)) == ("append", {"rows_read": 2, "inserted": 2})
    found = (await get(stack, "/v1/datasets/paragraphs/rows"))["data"]
    assert [row["content"] for row in found] == ["Once upon a time"] * 2
    assert all(row["created_at"] for row in found)
    job = await loaded(stack, "paragraphs", [{"id": 77, "content": "Mine"}])
    assert {errors for _, one in (await refused(stack, job)).values() for errors in one} == {("unknown_field", "id")}


async def test_an_idempotency_key_binds_a_batch_to_its_content(stack: Stack) -> None:
    first = await post(stack, "items", [ITEM], key="batch-1")
    again = await post(stack, "items", [ITEM], key="batch-1")
    assert first.json()["id"] == again.json()["id"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    problem(await post(stack, "items", [{**ITEM, "price": 1}], key="batch-1"), 422, "idempotency_key_reused")
    problem(await post(stack, "departments", [ITEM], key="batch-1"), 422, "idempotency_key_reused")
    problem(await post(stack, "items", [ITEM], prefer="handling=strict", key="batch-1"), 422, "idempotency_key_reused")
    refused_once = [{**ITEM, "price": -1}]
    for _ in range(2):
        answer = await post(stack, "items", refused_once, prefer="handling=strict", key="batch-2")
        problem(answer, 422, "rows_refused")


async def test_two_hundred_at_once_are_each_answered_for_themselves(stack: Stack) -> None:
    """Requests that come together are accepted in one transaction; the bad ones among them cost nobody else."""

    async def one(number: int) -> httpx2.Response:
        if number % 50 == 49:
            return await post(stack, "items", [ITEM] * 1001)
        if number % 50 == 48:  # other content under a key that comes meanwhile or has come
            return await post(stack, "items", [{**ITEM, "id": 100_000 + number}], key="shared-0")
        rows = [{**ITEM, "id": number // 4}]
        return await post(stack, "items", rows, key=f"shared-{number // 4}")

    answers = await asyncio.gather(*(one(number) for number in range(200)))
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses[422] in (8, 11)  # either the four, or one of the odd ones came first and then the four are refused
    good = [answer.json() for answer in answers if answer.status_code == 200]
    assert len(good) == 200 - statuses[422]
    jobs = {job["id"]: job for job in good}
    assert {job["status"] for job in good} == {"succeeded"}
    assert len(await items(stack)) == len(jobs)
    replayed = sum(answer.headers.get("idempotency-replayed") == "true" for answer in answers)
    assert replayed == len(good) - len(jobs)


async def test_the_rows_are_not_kept_once_the_job_has_ended(stack: Stack) -> None:
    marked = {**ITEM, "name": "Only once in the world"}
    job = await loaded(stack, "items", [marked])
    file = await imported(stack, "departments", "1,Sales\n")
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    try:
        commands = {
            str(row["id"]): json.loads(row["command"])
            for row in await db.fetch(
                "SELECT id, command FROM gateway.jobs WHERE id = ANY($1)", [job["id"], file["id"]]
            )
        }
        assert commands[job["id"]] == {}
        assert commands[file["id"]]["file"]
        kept = await db.fetchval("SELECT count(*) FROM gateway.events WHERE data::text LIKE '%Only once%'")
        assert kept == 0
    finally:
        await db.close()
