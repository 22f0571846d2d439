"""GET /v1/datasets/{dataset}/rows: filtered, ordered, page by page or as a file."""

import asyncio
import contextlib
import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from tests.acceptance.import_files import forget, get, imported
from tests.acceptance.test_refusals import problem
from tests.stack import Stack
from tests.waiting import eventually

FIELDS = [
    {"name": "id", "type": "integer", "required": True},
    {"name": "name", "type": "string"},
    {"name": "price", "type": "decimal(12,2)"},
    {"name": "ok", "type": "boolean"},
    {"name": "at", "type": "datetime"},
    {"name": "tags", "type": "object"},
    {"name": "limit", "type": "integer"},
]
ROWS: list[dict[str, Any]] = [
    {"id": 1, "name": "Chair, oak", "price": 10.5, "ok": True, "at": "2021-11-07T02:48:42Z", "tags": ["a"], "limit": 3},
    {
        "id": 2,
        "name": "=1+1",
        "price": 0.1,
        "ok": False,
        "at": "2021-11-07T02:48:42.500000Z",
        "tags": {},
        "limit": None,
    },
    {"id": 3, "name": None, "price": None, "ok": None, "at": None, "tags": None, "limit": None},
    {"id": 4, "name": 'a"b\n漢 100%_*\\', "price": 10.5, "ok": True, "at": None, "tags": {"x": 'a"'}, "limit": 3},
    {
        "id": 5,
        "name": "chairs + tables",
        "price": -3,
        "ok": False,
        "at": "2022-01-01T00:00:00Z",
        "tags": [],
        "limit": 9,
    },
]
LARGE = 60_000
SECONDS = 30.0


@pytest.fixture(scope="module")
async def name(stack: Stack) -> AsyncIterator[str]:
    """A dataset with these rows."""
    name = f"read_{uuid4().hex[:8]}"
    declared = await stack.client.put(
        f"/v1/datasets/{name}", json={"title": "T", "primary_key": ["id"], "fields": FIELDS}
    )
    assert declared.status_code == 201, declared.text
    answer = await stack.client.post(
        f"/v1/datasets/{name}/rows", json={"rows": ROWS}, headers={"Prefer": "wait=60, handling=strict"}
    )
    assert answer.json()["outcome"]["inserted"] == len(ROWS), answer.text
    yield name
    await forget(stack, name)


@pytest.fixture(scope="module")
async def large(stack: Stack) -> AsyncIterator[str]:
    """A dataset of 60 MB, more than connections buffer."""
    name = f"large_{uuid4().hex[:8]}"
    declared = await stack.client.put(
        f"/v1/datasets/{name}", json={"title": "T", "primary_key": ["id"], "fields": FIELDS[:2]}
    )
    assert declared.status_code == 201, declared.text
    async with connected(stack) as db:
        await db.execute(f"INSERT INTO data.{name} SELECT n, repeat('x', 1000), 0 FROM generate_series(1, {LARGE}) n")
    yield name
    await forget(stack, name)


@contextlib.asynccontextmanager
async def connected(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    try:
        yield db
    finally:
        await db.close()


async def ask(stack: Stack, name: str, /, *conditions: tuple[str, str], **parameters: str | int) -> httpx2.Response:
    return await stack.client.get(f"/v1/datasets/{name}/rows", params=[*conditions, *parameters.items()])


async def ids(stack: Stack, name: str, /, *conditions: tuple[str, str], **parameters: str | int) -> list[int]:
    answer = await ask(stack, name, *conditions, **parameters)
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()["data"]]


async def test_a_page_is_what_it_was_and_has_the_cursor_of_the_next_one(stack: Stack, name: str) -> None:
    body = await get(stack, f"/v1/datasets/{name}/rows")
    assert body == {"data": ROWS, "total": 5, "page": 1, "limit": 10, "next": None}
    body = await get(stack, f"/v1/datasets/{name}/rows", page=2, limit=2)
    assert (body["data"], body["total"], body["page"], body["limit"]) == (ROWS[2:4], 5, 2, 2)
    body = await get(stack, f"/v1/datasets/{name}/rows", cursor=body["next"], limit=2)
    assert body == {"data": ROWS[4:], "total": 5, "page": None, "limit": 2, "next": None}
    assert (await get(stack, f"/v1/datasets/{name}/rows", page=9))["data"] == []


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ([("price", "gte.10.5")], [1, 4]),
        ([("price", "gt.-4"), ("price", "lt.1")], [2, 5]),
        ([("name", "ilike.*chair*")], [1, 5]),
        ([("name", "eq.chairs + tables")], [5]),
        ([("name", 'in.("Chair, oak","=1+1")')], [1, 2]),
        ([("name", "eq." + str(ROWS[3]["name"]))], [4]),
        ([("name", r"like.*100\%\_\*\\")], [4]),
        ([("or", "(price.is.null,and(ok.is.true,name.not.like.Ch*))")], [3, 4]),
        ([("ok", "not.is.true")], [2, 3, 5]),
        ([("at", "gt.2021-11-07T03:48:42+01:00")], [2, 5]),
        ([("tags", 'eq.{"x": "a\\""}')], [4]),
        ([("and", "(limit.eq.3)")], [1, 4]),
        ([("id", "in.()")], []),
    ],
)
async def test_conditions_choose_rows(
    stack: Stack, name: str, conditions: list[tuple[str, str]], found: list[int]
) -> None:
    assert await ids(stack, name, *conditions) == found
    assert (await ask(stack, name, *conditions, limit=1)).json()["total"] == len(found)


async def test_order_select_and_counts(stack: Stack, name: str) -> None:
    assert await ids(stack, name, order="price.desc.nullslast,name") == [1, 4, 2, 5, 3]
    assert await ids(stack, name, order="at") == [1, 2, 5, 3, 4]
    answer = await ask(stack, name, order="id.desc", select="price, id", limit=1, count="none")
    assert answer.text.startswith('{"data":[{"price":-3.00,"id":5}],"total":null,')
    assert (await ask(stack, name, ("id", "gt.0"), count="estimated")).json()["total"] >= 5


async def test_cursors_of_every_order_lead_through_all_rows(stack: Stack, name: str) -> None:
    for order in ("id", "id.desc", "price,ok.desc", "name.desc.nullslast", "at.nullsfirst"):
        expected = await ids(stack, name, order=order)
        found: list[int] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await ask(stack, name, order=order, limit=2, **({"cursor": cursor} if cursor else {}))).json()
            found += [row["id"] for row in page["data"]]
            cursor = page["next"]
        assert found == expected


async def test_a_cursor_goes_on_whatever_was_loaded_meanwhile(stack: Stack) -> None:
    await imported(stack, "departments", "".join(f"{number},D\n" for number in range(9101, 9104)))
    mine = ("id", "in.(9101,9102,9103)")
    page = (await ask(stack, "departments", mine, limit=2)).json()
    async with connected(stack) as db:
        await db.execute("DELETE FROM data.departments WHERE id IN (9101, 9102)")
    assert await ids(stack, "departments", mine, cursor=page["next"]) == [9103]


async def test_an_invalid_query_is_refused_with_what_would_be_right(stack: Stack, name: str) -> None:
    body: Any = problem(await ask(stack, name, ("pirce", "gt.5"), ("lmit", "5")), 422, "unknown_parameter")
    assert [error["column"] for error in body["errors"]] == ["lmit", "pirce"]
    assert "did you mean 'price'?" in body["errors"][1]["detail"]
    for hidden in ("pool", "catalog", "request", "_chunk", "accept", "dataset"):
        problem(await ask(stack, name, (hidden, "eq.5")), 422, "unknown_parameter")
    body = problem(await ask(stack, name, ("price", "gt.x"), order="nme", select="idd"), 422, "invalid_query")
    assert [(error["column"], error["code"]) for error in body["errors"]] == [
        ("price", "type"),
        ("order", "unknown_field"),
        ("select", "unknown_field"),
    ]
    for wrong in ({"limit": 0}, {"limit": 1001}, {"page": 0}, {"count": "some"}, {"format": "xml"}):
        problem(await ask(stack, name, **wrong), 422, "invalid_request")


async def test_a_cursor_of_another_question_is_refused(stack: Stack, name: str) -> None:
    cursor = (await ask(stack, name, limit=1)).json()["next"]
    assert await ids(stack, name, cursor=cursor, limit=3) == [2, 3, 4]
    for other in ({"order": "id.desc"}, {"price": "gt.1"}, {"or": "(id.eq.1)"}):
        problem(await ask(stack, name, cursor=cursor, **other), 422, "bad_cursor")
    for text in ("", "x", cursor[:-3], "\0", "漢"):
        problem(await ask(stack, name, cursor=text), 422, "bad_cursor")
    problem(await ask(stack, name, cursor=cursor, page=2), 422, "unfit_parameter")


ATTACKS = (
    "'; DROP TABLE data.{name}; --",
    "1); DELETE FROM data.{name}; --",
    "$1",
    "eq.1' OR '1'='1",
    '"; DROP TABLE data.{name}; --',
    "\\'; SELECT pg_sleep(30); --",
    "1::text) OR (true",
    "a\0b",
)


@pytest.mark.parametrize("text", ATTACKS)
async def test_no_text_becomes_sql(stack: Stack, name: str, text: str) -> None:
    text = text.format(name=name)
    for parameters in (
        {"name": f"eq.{text}"},
        {"name": f"like.{text}"},
        {"name": f"in.({json.dumps(text)})"},
        {"id": f"eq.{text}"},
        {"tags": f"eq.{text}"},
        {"or": f"(name.eq.{text})"},
        {text: "eq.1"},
        {"order": text},
        {"select": text},
        {"cursor": text},
        {"count": text},
    ):
        answer = await ask(stack, name, **parameters)
        assert answer.status_code in (200, 422), answer.text
        assert answer.status_code == 422 or answer.json()["data"] == []
    assert (await get(stack, f"/v1/datasets/{name}/rows"))["data"] == ROWS


async def test_all_rows_come_as_ndjson(stack: Stack, name: str) -> None:
    path = f"/v1/datasets/{name}/rows"
    answer = await stack.client.get(path, headers={"Accept": "text/csv;q=0.5, application/x-ndjson;q=0.9, */*;q=0.1"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in answer.text.splitlines()] == ROWS
    answer = await ask(stack, name, ("price", "gt.1"), format="ndjson", order="id.desc", select="id", limit=1)
    assert answer.text == '{"id":4}\n'
    assert (await ask(stack, name, ("id", "eq.0"), format="ndjson")).text == ""


async def test_all_rows_come_as_csv_and_can_be_imported_again(stack: Stack, name: str) -> None:
    answer = await stack.client.get(f"/v1/datasets/{name}/rows", headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}.csv"'
    table = list(csv.DictReader(io.StringIO(answer.text, newline=""), strict=True))
    assert list(table[0].values()) == ["1", "Chair, oak", "10.50", "true", "2021-11-07T02:48:42Z", '["a"]', "3"]
    assert list(table[2].values()) == ["3", "", "", "", "", "", ""]
    job = await imported(stack, name, answer.content)
    assert job["outcome"]["unchanged"] == len(ROWS)
    answer = await ask(stack, name, ("id", "in.(2,5)"), format="csv", spreadsheet_safe="true", select="name,price")
    assert answer.text == "name,price\r\n'=1+1,0.10\r\nchairs + tables,-3.00\r\n"
    assert (await ask(stack, name, ("id", "eq.0"), format="csv", select="id")).text == "id\r\n"


async def test_what_a_file_has_no_use_for_is_refused(stack: Stack, name: str) -> None:
    for form, parameter, value in (
        ("csv", "page", "1"),
        ("csv", "cursor", "x"),
        ("ndjson", "count", "none"),
        ("ndjson", "spreadsheet_safe", "true"),
        ("json", "spreadsheet_safe", "true"),
    ):
        body: Any = problem(await ask(stack, name, format=form, **{parameter: value}), 422, "unfit_parameter")
        assert [error["column"] for error in body["errors"]] == [parameter]


async def test_a_file_is_of_one_moment(stack: Stack, large: str) -> None:
    path = f"/v1/datasets/{large}/rows?format=ndjson&select=id,name"
    async with stack.client.stream("GET", path) as answer, connected(stack) as db:
        await db.execute(f"UPDATE data.{large} SET name = repeat('y', 1000)")
        text = (await answer.aread()).decode()
    rows = [json.loads(line) for line in text.splitlines()]
    assert {row["id"] for row in rows} == set(range(1, LARGE + 1))
    assert {row["name"][0] for row in rows} == {"x"}


async def test_a_file_that_breaks_off_is_not_taken_for_a_whole_one(stack: Stack, large: str) -> None:
    async with stack.client.stream("GET", f"/v1/datasets/{large}/rows?format=csv") as answer, connected(stack) as db:
        assert answer.status_code == 200
        ended = await db.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE $1 AND usename = 'gateway'",
            f'%FROM data."{large}" r%',
        )
        assert ended == 1
        with pytest.raises(httpx2.RemoteProtocolError):
            await answer.aread()


async def test_downloads_leave_connections_to_others_and_give_back_their_own(stack: Stack, large: str) -> None:
    path = f"/v1/datasets/{large}/rows?format=csv"
    async with contextlib.AsyncExitStack() as opened:
        for _ in range(8):
            answer = await opened.enter_async_context(stack.client.stream("GET", path))
            assert answer.status_code == 200
        refused = await stack.client.get(path)
        problem(refused, 503, "too_many_downloads")
        assert refused.headers["retry-after"]
        assert (await ask(stack, large)).status_code == 200

    async def free() -> bool:
        return (await stack.client.get(path, params={"limit": "1"})).status_code == 200

    await eventually(free, SECONDS)


async def test_a_question_that_takes_too_long_ends_and_says_to_narrow_it(stack: Stack, name: str) -> None:
    async with connected(stack) as db, db.transaction():
        await db.execute(f"LOCK TABLE data.{name}")  # as good as a table too large for the question

        async def download() -> httpx2.Response | None:
            """Once the downloads of the test before have ended."""
            answer = await ask(stack, name, format="csv")
            return None if answer.status_code == 503 else answer

        answers = await asyncio.gather(ask(stack, name), eventually(download, SECONDS))
    for answer in answers:
        assert answer is not None
        body = problem(answer, 422, "too_slow")
        assert "indexed field" in str(body["hint"])


async def test_the_operators_are_documented_where_routes_are(stack: Stack) -> None:
    described = (await get(stack, "/openapi.json"))["paths"]["/v1/datasets/{dataset}/rows"]["get"]
    assert "not.ilike.*chair*" in described["description"]
    parameters = {parameter["name"]: parameter for parameter in described["parameters"]}
    assert {"page", "limit", "cursor", "order", "select", "count", "format", "filters"} <= set(parameters)
    assert (parameters["filters"]["style"], parameters["filters"]["explode"]) == ("form", True)
