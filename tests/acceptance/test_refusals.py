"""Requests that are refused at once, with a code for programs and a sentence for people."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.acceptance.import_files import failed_rows, get, imported, send
from tests.stack import ROOT, Stack


def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The body of a problem of this status and code."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["code"] == code
    assert body["status"] == status
    assert body["detail"]
    assert body["request_id"]
    return body


async def test_without_a_key_or_with_a_wrong_one_it_is_401(stack: Stack) -> None:
    async with httpx2.AsyncClient(base_url=stack.url) as stranger:
        problem(await stranger.get("/v1/jobs"), 401, "unauthorized")
        wrong = {"Authorization": f"Bearer {stack.key[:-3]}abc"}
        answer = await stranger.get("/v1/jobs", headers=wrong)
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_with_too_small_a_scope_it_is_403(stack: Stack) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "services.gateway.http.api_keys", "create", "--name", "reader", "--scope", "read"],
        env={"DATABASE_URL": stack.env["GATEWAY_DATABASE_URL"], "PATH": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    reader = {"Authorization": f"Bearer {made.stdout.strip()}"}
    assert (await stack.client.get("/v1/jobs", headers=reader)).status_code == 200
    answer = await stack.client.post(
        "/v1/datasets/departments/imports", content=b"1,A\n", headers={**reader, "Content-Type": "text/csv"}
    )
    problem(answer, 403, "forbidden")


async def test_what_is_not_there_is_404(stack: Stack) -> None:
    body = problem(await send(stack, "nothing", "a,b\n"), 404, "not_found")
    assert "departments" in str(body["hint"])
    for path in (
        "/v1/datasets/nothing",
        "/v1/reports/nothing",
        "/v1/nothing",
        "/v1/datasets/departments/rows/12345678",
    ):
        problem(await stack.client.get(path), 404, "not_found")
    for path in ("failed-rows", "events", ""):
        problem(
            await stack.client.get(f"/v1/jobs/01a1fd33-b3c5-7b85-8859-f31718021d86/{path}".rstrip("/")),
            404,
            "not_found",
        )


async def test_what_is_no_table_is_415(stack: Stack) -> None:
    for headers in ({"Content-Type": "text/html"}, {}, {"Content-Type": "text/csv", "Content-Encoding": "br"}):
        answer = await stack.client.post("/v1/datasets/departments/imports", content=b"1,A\n", headers=headers)
        assert answer.status_code == 415, answer.text


async def test_a_header_that_does_not_fit_is_422_and_names_the_columns(stack: Stack) -> None:
    answer = await send(stack, "contacts", "first_name,e_mail,email,email\nA,B,C,D\n")
    body = problem(answer, 422, "header_mismatch")
    assert {(error["code"], error["column"]) for error in body["errors"]} >= {
        ("unknown_column", "e_mail"),
        ("duplicate_column", "email"),
    }
    body = problem(await send(stack, "contacts", "first_name\nA\n"), 422, "header_mismatch")
    assert [(error["code"], error["column"]) for error in body["errors"]] == [("missing_column", "email")]


async def answered_early(stack: Stack, length: int, body: bytes) -> bytes:
    """What the gateway says to an upload of which only the beginning has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(stack.url).port)
    writer.write(
        b"POST /v1/datasets/departments/imports HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\n"
        b"Content-Length: %d\r\nAuthorization: Bearer %s\r\n\r\n" % (length, stack.key.encode())
    )
    writer.write(body)
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        answer = head + await reader.readuntil(b"}")
    writer.close()
    return answer


async def test_a_wrong_file_is_refused_after_kilobytes(stack: Stack) -> None:
    answer = await answered_early(stack, 1_000_000_000, b"wrong,header\n" + b"x" * 70_000)
    assert b" 422 " in answer.splitlines()[0]
    assert b"header_mismatch" in answer


async def test_too_large_a_file_is_refused_before_it_comes(stack: Stack) -> None:
    answer = await answered_early(stack, 3_000_000_000, b"id,department\n")
    assert b" 413 " in answer.splitlines()[0]
    assert b'"limit_bytes":2147483648' in answer
    assert b"3000000000" in answer


async def test_who_sends_it_all_before_listening_hears_the_refusal_too(stack: Stack) -> None:
    answer = await send(stack, "departments", b"wrong,header\n" + b"1,x\n" * 5_000_000)
    problem(answer, 422, "header_mismatch")


async def test_an_empty_file_is_422(stack: Stack) -> None:
    for content in ("", "\n\n", "\ufeff"):
        problem(await send(stack, "departments", content), 422, "empty_file")


async def test_a_file_of_only_bad_rows_is_a_failed_job_that_says_why(stack: Stack) -> None:
    job = await imported(stack, "departments", "id,department\nx,\n,y\n")
    assert job["status"] == "failed"
    assert job["error"]["code"] == "all_rows_failed"
    assert job["outcome"]["failed"] == 2
    rows = await failed_rows(stack, job)
    assert [[(error["code"], error["column"]) for error in row["errors"]] for row in rows] == [
        [("type", "id"), ("required", "department")],
        [("required", "id")],
    ]
    assert [row["line"] for row in rows] == [2, 3]


async def test_a_header_without_rows_is_a_job_that_read_nothing(stack: Stack) -> None:
    job = await imported(stack, "departments", "id,department\n")
    assert (job["status"], job["outcome"]["rows_read"]) == ("succeeded", 0)


@pytest.mark.parametrize("path", ["rows?page=0", "rows?limit=1001", "rows?limti=5", "search?limit=0", "search?q=a&x=1"])
async def test_parameters_that_are_wrong_or_unknown_are_422(stack: Stack, path: str) -> None:
    answer = await stack.client.get(f"/v1/datasets/departments/{path}")
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"]


@pytest.mark.parametrize("query", ["", "?year=x", "?year=1", "?year=2021&month=1"])
async def test_parameters_of_a_report_are_checked(stack: Stack, query: str) -> None:
    answer = await stack.client.get(f"/v1/reports/hires_by_quarter{query}")
    problem(answer, 422, "invalid_parameters")


async def test_an_idempotency_key_binds_to_its_request(stack: Stack) -> None:
    headers = {"Content-Type": "text/csv", "Idempotency-Key": "test-idempotency"}
    path = "/v1/datasets/departments/imports"
    first = await stack.client.post(path, content=b"77,Once\n", headers=headers)
    again = await stack.client.post(
        path, files={"file": ("a.csv", b"77,Once\n")}, headers={"Idempotency-Key": "test-idempotency"}
    )
    assert again.json()["id"] == first.json()["id"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    other = await stack.client.post(path, content=b"78,Other\n", headers=headers)
    problem(other, 422, "idempotency_key_reused")


async def test_an_upload_that_is_cut_off_leaves_no_job_and_no_file(stack: Stack) -> None:
    before = (await get(stack, "/v1/jobs", dataset="items", limit=200))["data"]

    async def broken() -> AsyncIterator[bytes]:
        yield b"id,name,price\n" + b"1,a,2\n" * 20_000
        message = "the line is cut"
        raise httpx2.WriteError(message)

    with pytest.raises(httpx2.HTTPError):
        await stack.client.post("/v1/datasets/items/imports", content=broken(), headers={"Content-Type": "text/csv"})
    assert (await get(stack, "/v1/jobs", dataset="items", limit=200))["data"] == before
