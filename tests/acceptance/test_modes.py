"""Options of an import over HTTP: insert, replace, validate only, error budget, references."""

from typing import Any

import pytest

from tests.acceptance.import_files import failed_rows, get, send
from tests.acceptance.test_refusals import problem
from tests.stack import Stack, empty

FATES = ("inserted", "updated", "unchanged", "duplicates", "failed", "checked")


@pytest.fixture(autouse=True)
async def _nothing_is_there(stack: Stack) -> None:
    await empty(stack)


async def done(stack: Stack, dataset: str, text: str, **parameters: str) -> dict[str, Any]:
    """The job, ended; its books balance."""
    answer = await send(stack, dataset, text, wait=60, **parameters)
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    assert job["outcome"]["rows_read"] == sum(job["outcome"][fate] for fate in FATES)
    return job


def counts(job: dict[str, Any]) -> dict[str, int]:
    """Those that are not 0."""
    return {word: count for word, count in job["outcome"].items() if count}


async def rows(stack: Stack, dataset: str) -> list[dict[str, Any]]:
    found = await get(stack, f"/v1/datasets/{dataset}/rows", limit=1000)
    data: list[dict[str, Any]] = found["data"]
    return data


async def departments(stack: Stack) -> dict[int, str]:
    return {row["id"]: row["department"] for row in await rows(stack, "departments")}


async def test_insert_keeps_what_is_there(stack: Stack) -> None:
    await done(stack, "departments", "1,Sales\n2,Legal\n")
    job = await done(stack, "departments", "2,Other\n3,New\n3,Newer\n", mode="insert")
    assert (job["mode"], job["status"]) == ("insert", "partial")
    assert counts(job) == {"rows_read": 3, "inserted": 1, "duplicates": 1, "failed": 1}
    assert await departments(stack) == {1: "Sales", 2: "Legal", 3: "Newer"}
    (row,) = await failed_rows(stack, job)
    assert (row["line"], row["raw"]) == (1, "2,Other")
    assert [(error["code"], error["column"], error["value"]) for error in row["errors"]] == [("key_exists", "id", "2")]


async def test_append_is_for_datasets_whose_rows_bring_no_key(stack: Stack) -> None:
    problem(await send(stack, "departments", "1,Sales\n", mode="append"), 422, "mode_refused")
    problem(await send(stack, "paragraphs", "content\nOnce\n", mode="upsert"), 422, "mode_needs_key")
    for parameters in ({}, {"mode": "append"}):
        job = await done(stack, "paragraphs", "content\nOnce upon a time\n", **parameters)
        assert (job["mode"], counts(job)) == ("append", {"rows_read": 1, "inserted": 1})
    assert [row["content"] for row in await rows(stack, "paragraphs")] == ["Once upon a time"] * 2


async def test_replace_leaves_the_rows_of_the_file_their_words_and_their_sums(stack: Stack) -> None:
    header = "id,name,category,price,quantity\n"
    await done(stack, "items", header + "1,Chair,wood,1,5\n2,Table,wood,2,7\n3,Lamp,metal,3,1\n")
    job = await done(stack, "items", header + "2,Table,wood,2,7\n3,Bulb,glass,3,1\n4,Bed,wood,9,2\n", mode="replace")
    assert (job["mode"], job["status"]) == ("replace", "succeeded")
    assert counts(job) == {"rows_read": 3, "inserted": 1, "updated": 1, "unchanged": 1, "deleted": 1}
    assert job["progress"]["percent"] == 100
    assert [(row["id"], row["name"]) for row in await rows(stack, "items")] == [(2, "Table"), (3, "Bulb"), (4, "Bed")]
    for word, ids in (("chair", []), ("lamp", []), ("bulb", [3]), ("table", [2]), ("bed", [4])):
        found = await get(stack, "/v1/datasets/items/search", q=word)
        assert [hit["row"]["id"] for hit in found["data"]] == ids, word


async def test_replace_takes_no_failed_row_unless_an_option_allows_it(stack: Stack) -> None:
    await done(stack, "departments", "1,Sales\n2,Legal\n")
    job = await done(stack, "departments", "1,Sales\n2,\n3,New\n", mode="replace")
    assert (job["status"], job["error"]["code"]) == ("failed", "too_many_errors")
    assert counts(job) == {"rows_read": 3, "checked": 2, "failed": 1}
    assert "Nothing was replaced" in job["error"]["hint"]
    assert await departments(stack) == {1: "Sales", 2: "Legal"}
    assert [row["line"] for row in await failed_rows(stack, job)] == [2]
    job = await done(stack, "departments", "1,Sales\n2,\n3,New\n", mode="replace", max_errors="1")
    assert counts(job) == {"rows_read": 3, "inserted": 1, "unchanged": 1, "failed": 1, "deleted": 1}
    assert await departments(stack) == {1: "Sales", 3: "New"}


async def test_replace_does_not_lose_half_of_the_table_by_mistake(stack: Stack) -> None:
    await done(stack, "departments", "1,Sales\n2,Legal\n3,Finance\n")
    job = await done(stack, "departments", "1,Sales\n", mode="replace")
    assert (job["status"], job["error"]["code"]) == ("failed", "shrink_guard")
    assert job["error"]["detail"] == "2 of 3 rows would be deleted; the limit is 50%."
    assert len(await departments(stack)) == 3
    job = await done(stack, "departments", "id,department\n", mode="replace", max_shrink="1")
    assert (job["status"], counts(job)) == ("succeeded", {"deleted": 3})
    assert await departments(stack) == {}


async def test_validating_reports_everything_and_writes_nothing(stack: Stack) -> None:
    text = "1,Sales\n1,Legal\nx,\n"
    job = await done(stack, "departments", text, validate_only="true")
    assert (job["status"], counts(job)) == ("partial", {"rows_read": 3, "checked": 2, "failed": 1})
    assert await departments(stack) == {}
    (row,) = await failed_rows(stack, job)
    assert {(error["code"], error["column"]) for error in row["errors"]} == {("type", "id"), ("required", "department")}
    assert counts(await done(stack, "departments", text))["inserted"] == 1


async def test_a_budget_ends_a_job_and_what_was_loaded_stays(stack: Stack) -> None:
    job = await done(stack, "departments", "1,Sales\nx,Bad\n2,Legal\ny,Bad\n", max_errors="1")
    assert (job["status"], job["error"]["code"]) == ("failed", "too_many_errors")
    assert job["error"]["detail"] == "2 of 4 rows failed; 1 are allowed."
    assert counts(job) == {"rows_read": 4, "inserted": 2, "failed": 2}
    assert await departments(stack) == {1: "Sales", 2: "Legal"}
    events = (await stack.client.get(job["links"]["events"])).text
    assert events.count("event: job.failed") == 1


async def test_rows_may_have_to_refer_to_rows_that_are_there(stack: Stack) -> None:
    await done(stack, "departments", "1,Sales\n")
    await done(stack, "jobs", "1,Clerk\n")
    text = "1,Ada,2021-01-01T00:00:00Z,1,1\n2,Bo,2021-01-01T00:00:00Z,2,1\n"
    job = await done(stack, "hired_employees", text, check_references="true")
    assert counts(job) == {"rows_read": 2, "inserted": 1, "failed": 1}
    (row,) = await failed_rows(stack, job)
    assert [(error["code"], error["column"], error["value"]) for error in row["errors"]] == [
        ("reference", "department_id", "2")
    ]


@pytest.mark.parametrize(
    "parameters",
    [
        {"mode": "merge"},
        {"max_errors": "-1"},
        {"max_error_rate": "1.1"},
        {"max_shrink": "2"},
        {"max_failed_rows": "x"},
        {"validate_only": "perhaps"},
    ],
    ids=lambda one: next(iter(one)),
)
async def test_what_can_not_be_meant_is_422(stack: Stack, parameters: dict[str, str]) -> None:
    answer = await send(stack, "departments", "1,Sales\n", wait=60, **parameters)
    assert answer.status_code == 422, answer.text
    assert await departments(stack) == {}


async def test_only_so_many_failed_rows_are_kept_and_the_counts_tell_of_all(stack: Stack) -> None:
    text = "1,Sales\n" + "".join(f"x{number},Bad\n" for number in range(30))
    job = await done(stack, "departments", text, max_failed_rows="5")
    assert counts(job) == {"rows_read": 31, "inserted": 1, "failed": 30}
    assert [row["line"] for row in await failed_rows(stack, job)] == [2, 3, 4, 5, 6]
