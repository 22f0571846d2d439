"""Failed rows over HTTP: listed, downloaded as CSV, fixed, replayed, discarded; none is lost."""

import asyncio
import csv
import io
from collections import Counter
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from tests.acceptance.import_files import failed_rows, get, imported
from tests.acceptance.test_refusals import problem
from tests.stack import Stack

HEADER = ("id", "name", "category", "price", "quantity")
NOBODY = "00000000-0000-7000-8000-000000000000"
NOT_THERE = 4_000_000


def items(first: int, *rows: tuple[str, ...], delimiter: str = ",") -> str:
    """A file whose rows are numbered from `first`."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(HEADER)
    writer.writerows((number, *row) for number, row in enumerate(rows, first))
    return out.getvalue()


async def page(stack: Stack, job: dict[str, Any], **parameters: Any) -> Any:
    return await get(stack, job["links"]["failed_rows"], **parameters)


async def download(stack: Stack, job: dict[str, Any], **parameters: Any) -> list[dict[str, str]]:
    answer = await stack.client.get(job["links"]["failed_rows"], params={"format": "csv", **parameters})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.text, newline=""), strict=True))


def as_csv(rows: list[dict[str, str]]) -> str:
    """What a mending program writes."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


async def replay(stack: Stack, job: dict[str, Any], key: str = "", **chosen: str) -> httpx2.Response:
    headers = {"Prefer": "wait=60", **({"Idempotency-Key": key} if key else {})}
    return await stack.client.post(f"/v1/jobs/{job['id']}/replay", json=chosen, headers=headers)


async def replayed(stack: Stack, job: dict[str, Any], **chosen: str) -> dict[str, Any]:
    """The job, ended."""
    answer = await replay(stack, job, **chosen)
    assert answer.status_code == 200, answer.text
    ended: dict[str, Any] = answer.json()
    assert (ended["kind"], ended["replay_of"]) == ("replay", job["id"])
    return ended


async def discard(stack: Stack, job: dict[str, Any], key: str = "", **chosen: str) -> int | None:
    answer = await stack.client.post(
        f"{job['links']['failed_rows']}/discard", json=chosen, headers={"Idempotency-Key": key} if key else {}
    )
    assert answer.status_code == 200, answer.text
    discarded: int | None = answer.json()["discarded"]
    return discarded


@pytest.fixture(scope="module")
async def bad(stack: Stack) -> dict[str, Any]:
    """A job with a good row and several kinds of bad ones."""
    text = items(710_001, ("Chair", "", "1", "1"), ("", "", "-1", "1"), ("Lamp", "", "-2", "x"), ("Bed", "", "y", "x"))
    return await imported(stack, "items", text + "5,Desk\n")


async def test_counts_are_of_the_job_and_the_most_frequent_come_first(stack: Stack, bad: dict[str, Any]) -> None:
    found = await page(stack, bad, code="required")
    assert (found["total"], found["kept"], found["next"]) == (4, 4, None)
    assert found["counts"] == [
        {"code": "minimum", "column": "price", "rows": 2},
        {"code": "type", "column": "quantity", "rows": 2},
        {"code": "required", "column": "name", "rows": 1},
        {"code": "row_length", "column": "", "rows": 1},
        {"code": "type", "column": "price", "rows": 1},
    ]


@pytest.mark.parametrize(
    ("chosen", "lines"),
    [
        ({}, [3, 4, 5, 6]),
        ({"code": "minimum"}, [3, 4]),
        ({"column": "quantity"}, [4, 5]),
        ({"column": ""}, [6]),
        ({"code": "type", "column": "price"}, [5]),
        ({"code": "minimum", "column": "quantity"}, []),  # row 4 has both, but not in one error
        ({"state": "open"}, [3, 4, 5, 6]),
        ({"state": "replayed"}, []),
        ({"code": "nothing"}, []),
    ],
)
async def test_rows_are_found_by_what_is_wrong_with_them(
    stack: Stack, bad: dict[str, Any], chosen: dict[str, str], lines: list[int]
) -> None:
    assert [row["line"] for row in (await page(stack, bad, **chosen))["data"]] == lines
    assert [int(row["_line"]) for row in await download(stack, bad, **chosen)] == lines


async def test_counts_stay_exact_however_few_rows_are_kept(stack: Stack) -> None:
    rows = [("Chair", "", "-1" if number % 2 else "x", "1" if number % 5 else "z") for number in range(500)]
    job = await imported(stack, "items", items(711_000, *rows), max_failed_rows="7")
    found = await page(stack, job)
    assert (found["total"], found["kept"], len(found["data"])) == (500, 7, 7)
    expected = Counter(("type", "price") if row[2] == "x" else ("minimum", "price") for row in rows)
    expected[("type", "quantity")] = sum(row[3] == "z" for row in rows)
    assert {(count["code"], count["column"]): count["rows"] for count in found["counts"]} == expected
    assert job["outcome"]["failed"] == 500
    # What can be read again is what was kept.
    again = await replayed(stack, job)
    assert again["outcome"]["rows_read"] == 7
    assert (await page(stack, job))["total"] == 500


async def test_a_download_has_every_row_once_and_in_order(stack: Stack) -> None:
    rows = [("Chair", "", "-1", "1")] * 1200
    job = await imported(stack, "items", items(712_000, *rows))
    assert [int(row["_line"]) for row in await download(stack, job)] == list(range(2, 1202))
    assert [int(row["_line"]) for row in await download(stack, job, limit=600)] == list(range(2, 602))
    first = await page(stack, job, limit=1000)
    assert len(first["data"]) == 1000
    rest = await page(stack, job, limit=1000, after=first["next"])
    assert (len(rest["data"]), rest["next"]) == (200, None)
    assert [int(row["_line"]) for row in await download(stack, job, after=first["next"])] == list(range(1002, 1202))
    for wrong in (
        {"limit": 0},
        {"limit": 1001},
        {"state": "mended"},
        {"code": "\0"},
        {"after": -1},
        {"after": 1 << 63},
    ):
        problem(await stack.client.get(job["links"]["failed_rows"], params=wrong), 422, "invalid_request")


AWKWARD = (
    "plain",
    '"quoted", with a comma; and more',
    "over\ntwo\r\nlines",
    " spaces around ",
    "=1+1",
    "-5",
    "@x",
    "Ünïcödé 漢字 🙂",
    "'apostrophe'",
    '{"json": [1, "a"]}',
    "tab\there",
    "carriage\rreturn",
)


async def test_a_mended_download_brings_in_every_row_and_changes_nothing_else(stack: Stack) -> None:
    rows = [(name, name, "-1", "1") for name in AWKWARD]
    job = await imported(stack, "items", items(713_000, *rows, delimiter=";"), delimiter=";")
    assert job["outcome"]["failed"] == len(AWKWARD)
    found = await download(stack, job)
    assert [tuple(row[name] for name in HEADER[1:]) for row in found] == rows
    for row in found:
        assert row["_errors"] == "price: Expected 0 or more."
        row["price"] = "2.50"
    mended = await imported(stack, "items", as_csv(found))
    assert (mended["status"], mended["outcome"]["inserted"]) == ("succeeded", len(AWKWARD))
    for number, name in enumerate(AWKWARD, 713_000):
        row = await get(stack, f"/v1/datasets/items/rows/{number}")
        assert (row["name"], row["category"], row["price"], row["quantity"]) == (name, name, 2.5, 1)


async def test_a_file_that_was_mended_in_vain_can_be_mended_again(stack: Stack) -> None:
    job = await imported(stack, "items", items(714_000, ("a,b", "c", "-1", "1")))
    again = await imported(stack, "items", as_csv(await download(stack, job)))
    assert again["outcome"]["failed"] == 1
    (row,) = await download(stack, again)
    assert list(row) == [*HEADER, "_line", "_errors"]
    assert (row["name"], row["_line"]) == ("a,b", "2")
    row["price"] = "3"
    assert (await imported(stack, "items", as_csv([row])))["outcome"]["inserted"] == 1


async def test_rows_without_cells_stay_whole_and_are_refused_until_they_are_mended(stack: Stack) -> None:
    raw = (b'715001,a"b,c,1,1', b"715002,\xff,c,1,1", b"715003,a", b"715004,a,b,c,1,1", b'715005,"open,c,1,1')
    job = await imported(stack, "items", b"\n".join([",".join(HEADER).encode(), *raw]) + b"\n")
    kept = await failed_rows(stack, job)
    assert [row["raw"] for row in kept] == [row.decode(errors="replace") for row in raw]
    found = await download(stack, job)
    for row, text in zip(found, raw, strict=True):
        assert row["category"] == text.decode(errors="replace")
        assert row["id"] == row["name"] == row["price"] == row["quantity"] == ""
    unmended = await imported(stack, "items", as_csv(found))
    assert (unmended["status"], unmended["outcome"]["failed"]) == ("failed", len(raw))
    # The text is there again, to the letter.
    assert [row["category"] for row in await download(stack, unmended)] == [row["category"] for row in found]
    for number, row in enumerate(found, 715_001):
        row |= {"id": str(number), "name": "mended", "category": "", "price": "1"}
    assert (await imported(stack, "items", as_csv(found)))["outcome"]["inserted"] == len(raw)


async def test_formulas_are_defused_only_if_requested(stack: Stack) -> None:
    job = await imported(stack, "items", items(716_000, ("=1+1", "-7", "-1", "1")))
    (row,) = await download(stack, job)
    assert (row["name"], row["category"]) == ("=1+1", "-7")
    (row,) = await download(stack, job, spreadsheet_safe="true")
    assert (row["name"], row["category"], row["price"]) == ("'=1+1", "-7", "-1")


async def test_refused_rows_of_a_batch_come_as_csv_too(stack: Stack) -> None:
    rows: list[dict[str, Any]] = [
        {"id": 717_001, "name": name, "price": -1, "quantity": None, "description": "1"} for name in AWKWARD
    ]
    extra = {"id": 717_900, "nmae": "Chair", "price": 1}
    await imported(stack, "items", f"id,name,price,category\n{rows[0]['id']},Old,1,kept\n")
    for number, row in enumerate(rows):
        row["id"] += number
    answer = await stack.client.post(
        "/v1/datasets/items/rows", json={"rows": [*rows, extra]}, headers={"Prefer": "wait=60"}
    )
    job = answer.json()
    assert job["outcome"]["failed"] == len(rows) + 1
    found = await download(stack, job)
    assert "category" not in found[0]
    assert [row["name"] for row in found] == [*AWKWARD, ""]
    # Of a row that names what is no field, nothing is left out: it stands as it was written.
    assert '"nmae":"Chair"' in found[-1]["quantity"] + found[-1]["description"]
    for row in found:
        row["price"] = "1"
    found[-1] |= {"id": "717900", "name": "Chair", "quantity": "", "description": ""}
    mended = await imported(stack, "items", as_csv(found))
    assert (mended["status"], mended["outcome"]["inserted"], mended["outcome"]["updated"]) == (
        "succeeded",
        len(rows),
        1,
    )
    first = await get(stack, f"/v1/datasets/items/rows/{rows[0]['id']}")
    assert (first["name"], first["category"], first["description"]) == (AWKWARD[0], "kept", "1")


def hired(first: int, *departments: int, name: str = "Ada") -> str:
    return "".join(
        f"{number},{name},2031-01-05T00:00:00Z,{department},{NOT_THERE}\n"
        for number, department in enumerate(departments, first)
    )


async def test_rows_are_read_again_once_what_they_refer_to_is_there(stack: Stack) -> None:
    one, two = NOT_THERE + 1, NOT_THERE + 2
    text = hired(720_001, one, two, one) + '720004,"broken\n' + hired(720_005, one, name="")
    job = await imported(stack, "hired_employees", text, check_references="true")
    assert (job["status"], job["outcome"]["failed"]) == ("failed", 5)
    await imported(stack, "jobs", f"{NOT_THERE},Job of all\n")
    await imported(stack, "departments", f"{one},First\n")
    again = await replayed(stack, job)
    assert again["status"] == "partial"
    assert (again["outcome"]["inserted"], again["outcome"]["failed"]) == (2, 2)
    assert again["mode"] == "upsert"
    kept = {row["line"]: row for row in await failed_rows(stack, job)}
    assert {line: row["state"] for line, row in kept.items()} == {
        1: "replayed",
        2: "replayed",
        3: "replayed",
        4: "open",
        5: "replayed",
    }
    assert {row["resolved_by"] for row in kept.values()} == {again["id"], None}
    left = await page(stack, again)
    assert [(row["line"], row["errors"][0]["code"]) for row in left["data"]] == [(2, "reference"), (5, "required")]
    assert left["total"] == 2
    await imported(stack, "departments", f"{two},Second\n")
    last = await replayed(stack, again, code="reference")
    assert (last["status"], last["outcome"]["inserted"]) == ("succeeded", 1)
    (row,) = (await page(stack, again, state="open"))["data"]
    assert row["line"] == 5
    body = problem(await replay(stack, job), 409, "nothing_to_replay")
    assert "fix them" in str(body["hint"])
    problem(await replay(stack, job, code="reference"), 409, "nothing_to_replay")


async def test_a_job_says_how_many_rows_it_left_out(stack: Stack) -> None:
    job = await imported(
        stack, "items", items(721_000, ("Chair", "", "-1", "1")) + '721001,"a,b,1,1\n721002,c"d,,1,1\n'
    )
    again = await replayed(stack, job)
    assert again["warning"]["code"] == "rows_left_out"
    assert again["warning"]["detail"].startswith("2 failed rows")


async def test_rows_are_read_again_once_a_constraint_is_loosened(stack: Stack) -> None:
    name = f"loose_{uuid4().hex[:8]}"
    fields = [{"name": "id", "type": "integer", "required": True}, {"name": "price", "type": "integer", "minimum": 0}]
    declaration = {"title": "Loose", "primary_key": ["id"], "fields": fields}
    answer = await stack.client.put(f"/v1/datasets/{name}", json=declaration)
    assert answer.status_code in (200, 201), answer.text
    job = await imported(stack, name, "1,5\n2,-5\n3,-6\n")
    assert job["outcome"]["failed"] == 2
    assert (await replayed(stack, job, code="minimum"))["outcome"]["failed"] == 2
    fields[1].pop("minimum")
    answer = await stack.client.put(f"/v1/datasets/{name}", json=declaration)
    assert answer.status_code == 200, answer.text
    latest = (await get(stack, "/v1/jobs", dataset=name))["data"][0]
    assert (await replayed(stack, latest))["outcome"]["inserted"] == 2
    assert [row["price"] for row in (await get(stack, f"/v1/datasets/{name}/rows"))["data"]] == [5, -5, -6]


async def test_of_an_insert_no_row_changes_another_later_either(stack: Stack) -> None:
    await imported(stack, "items", items(722_000, ("Chair", "", "1", "1")))
    job = await imported(stack, "items", items(722_000, ("Other", "", "1", "1")), mode="insert")
    assert job["outcome"]["failed"] == 1
    again = await replayed(stack, job)
    assert (again["mode"], again["outcome"]["failed"]) == ("insert", 1)
    assert (await get(stack, "/v1/datasets/items/rows/722000"))["name"] == "Chair"


async def test_two_replays_at_once_take_every_row_once(stack: Stack) -> None:
    department = NOT_THERE + 3
    job = await imported(stack, "hired_employees", hired(730_000, *[department] * 400), check_references="true")
    await imported(stack, "jobs", f"{NOT_THERE},Job of all\n")
    await imported(stack, "departments", f"{department},Third\n")
    answers = await asyncio.gather(*(replay(stack, job) for _ in range(4)))
    ended = [answer.json() for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert all(one["status"] == "succeeded" for one in ended)
    assert sum(one["outcome"]["rows_read"] for one in ended) == 400
    assert sum(one["outcome"]["inserted"] for one in ended) == 400
    assert {row["state"] for row in await failed_rows(stack, job)} == {"replayed"}


async def test_the_same_request_is_one_replay(stack: Stack) -> None:
    job = await imported(stack, "items", items(731_000, ("Chair", "", "-1", "1"), ("Chair", "", "x", "1")))
    first = await replay(stack, job, key="replay-731000", code="minimum")
    again = await replay(stack, job, key="replay-731000", code="minimum")
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotency-replayed"] == "true"
    problem(await replay(stack, job, key="replay-731000", code="type"), 422, "idempotency_key_reused")


async def test_what_is_discarded_is_kept_and_left_alone(stack: Stack) -> None:
    job = await imported(stack, "items", items(740_000, ("", "", "1", "1"), ("A", "", "-1", "1"), ("B", "", "-1", "x")))
    before = await failed_rows(stack, job)
    assert await discard(stack, job, code="minimum", column="price") == 2
    assert await discard(stack, job, code="minimum", column="price") == 0
    after = await failed_rows(stack, job)
    assert [(row["line"], row["state"]) for row in after] == [(2, "open"), (3, "discarded"), (4, "discarded")]
    assert [row["raw"] for row in after] == [row["raw"] for row in before]
    assert [row["line"] for row in (await page(stack, job, state="discarded"))["data"]] == [3, 4]
    assert (await page(stack, job))["total"] == 3
    problem(await replay(stack, job, code="minimum"), 409, "nothing_to_replay")
    assert (await replayed(stack, job))["outcome"]["rows_read"] == 1


async def test_the_same_request_to_discard_gets_the_same_answer(stack: Stack) -> None:
    job = await imported(stack, "items", items(741_000, ("", "", "1", "1"), ("", "", "1", "1")))
    assert await discard(stack, job, key="discard-741000") == 2
    assert await discard(stack, job, key="discard-741000") == 2
    assert await discard(stack, job, key="discard-741001") == 0


@pytest.mark.parametrize("path", ["replay", "failed-rows/discard"])
async def test_requests_that_are_refused(stack: Stack, bad: dict[str, Any], path: str) -> None:
    problem(await stack.client.post(f"/v1/jobs/{NOBODY}/{path}"), 404, "not_found")
    problem(await stack.client.post(f"/v1/jobs/nobody/{path}"), 404, "not_found")
    here = f"/v1/jobs/{bad['id']}/{path}"
    bodies: list[Any] = [{"line": 3}, {"code": 3}, {"column": "\0"}, [], "required"]
    for body in bodies:
        problem(await stack.client.post(here, json=body), 422, "invalid_request")
    answer = await stack.client.post(here, content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text


async def test_the_body_may_be_left_out(stack: Stack) -> None:
    job = await imported(stack, "items", items(742_000, ("", "", "1", "1")))
    answer = await stack.client.post(f"{job['links']['failed_rows']}/discard")
    assert (answer.status_code, answer.json()) == (200, {"discarded": 1})
    problem(await stack.client.post(f"/v1/jobs/{job['id']}/replay"), 409, "nothing_to_replay")


async def test_a_job_that_has_not_begun_has_no_failed_rows(stack: Stack, bad: dict[str, Any]) -> None:
    number = uuid4()
    db = await asyncpg.connect(stack.env["DATABASE_URL"])
    columns = (
        "kind, dataset, status, phase, command, api_key, fingerprint, bytes_total, outcome, finished_at, deadline_at"
    )
    await db.execute(
        f"INSERT INTO gateway.jobs (id, {columns}) SELECT $1, {columns} FROM gateway.jobs WHERE id = $2",
        number,
        bad["id"],
    )
    await db.close()
    job: dict[str, Any] = {"id": str(number), "links": {"failed_rows": f"/v1/jobs/{number}/failed-rows"}}
    assert await page(stack, job) == {"data": [], "next": None, "total": 0, "kept": 0, "counts": []}
    answer = await stack.client.get(job["links"]["failed_rows"], params={"format": "csv"})
    assert answer.text.startswith("id,name,category,price,")
    assert answer.text.endswith(",_line,_errors\r\n")
    problem(await stack.client.get(f"/v1/jobs/{NOBODY}/failed-rows?format=csv"), 404, "not_found")


async def test_the_command_shows_mends_replays_and_discards(stack: Stack) -> None:
    job = await imported(stack, "items", items(743_000, ("", "", "1", "1"), ("A", "", "-1", "1")))
    shown = stack.millrace("failed", job["id"], "--code", "required")
    assert shown.returncode == 0, shown.stderr
    assert "Failed rows: 2, all of them stored." in shown.stdout
    assert "A value is required." in shown.stdout
    assert "Expected 0 or more." not in shown.stdout
    table = list(csv.DictReader(io.StringIO(stack.millrace("failed", job["id"], "--csv").stdout)))
    assert [row["_line"] for row in table] == ["2", "3"]
    again = stack.millrace("replay", job["id"], "--column", "price")
    assert again.returncode == 4, again.stderr
    assert "None of the 1 rows could be loaded." in again.stdout
    given_up = stack.millrace("discard", job["id"])
    assert (given_up.returncode, given_up.stdout) == (0, "Discarded rows: 1.\n")
    assert stack.millrace("replay", job["id"]).returncode == 1
