"""The most frequent words of a dataset and their definitions, with the sandbox as the dictionary."""

import datetime as dt
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx2
import pytest

from sandbox.dictionary import find_entry
from shared.search.stopwords import LISTED
from tests.acceptance.import_files import forget, get, imported
from tests.stack import Stack, empty
from tests.waiting import eventually

SECONDS = 30.0
WORDS = "/v1/datasets/paragraphs/words"
DICTIONARY = "/v1/datasets/paragraphs/dictionary"
TEXT = f"{'the ' * 6}{'mill ' * 5}{'of ' * 4}{'qwxz ' * 3}steady steady bright"


@pytest.fixture
async def admin(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(stack.env["DATABASE_URL"])
    yield connection
    await connection.close()


@pytest.fixture
async def sandbox(stack: Stack, admin: asyncpg.Connection) -> AsyncIterator[httpx2.AsyncClient]:
    """The outside on its first day; no word is there, and nothing was ever looked up."""
    async with httpx2.AsyncClient(base_url=stack.env["SANDBOX_URL"]) as client:
        (await client.post("/reset")).raise_for_status()
        await empty(stack)
        await admin.execute("TRUNCATE indexer.definitions, indexer.dictionaries")
        yield client
        (await client.post("/reset")).raise_for_status()
        await empty(stack)
        await admin.execute("TRUNCATE indexer.definitions, indexer.dictionaries")


async def store(stack: Stack, text: str) -> None:
    """One paragraph more, the words of which are counted."""
    job = await imported(stack, "paragraphs", f"content\n{text}\n", header="present")
    assert job["status"] == "succeeded", job
    await counted(stack, "paragraphs")


async def counted(stack: Stack, dataset: str) -> None:
    async def is_counted() -> bool:
        body = await get(stack, f"/v1/datasets/{dataset}/words")
        return bool(body["version"] == body["dataset_version"])

    assert await eventually(is_counted, SECONDS)


async def looked_up(stack: Stack, wanted: str, **parameters: Any) -> dict[str, Any]:
    """The dictionary, as soon as its definitions are so."""

    async def found() -> dict[str, Any] | None:
        body: dict[str, Any] = await get(stack, DICTIONARY, **parameters)
        return body if body["definitions"] == wanted else None

    body = await eventually(found, SECONDS)
    assert body is not None
    return body


def state(body: dict[str, Any], word: str) -> str:
    (found,) = (one for one in body["data"] if one["word"] == word)
    return str(found["definitions_state"])


@pytest.mark.usefixtures("sandbox")
async def test_the_words_of_a_synced_paragraph_are_defined_by_themselves(
    stack: Stack, admin: asyncpg.Connection
) -> None:
    answer = await stack.client.post("/v1/datasets/paragraphs/syncs", headers={"Prefer": "wait=60"})
    assert answer.json()["status"] == "succeeded", answer.text

    async def defined() -> bool:
        return int(await admin.fetchval("SELECT count(*) FROM indexer.definitions WHERE state = 'found'")) > 20

    assert await eventually(defined, SECONDS)  # before any request for them
    ((content,),) = await admin.fetch("SELECT content FROM data.paragraphs")
    counted = Counter(content.lower().replace(".", "").split())
    body = await looked_up(stack, "complete", limit=10)
    assert len(body["data"]) == 10
    expected = sorted(counted.items(), key=lambda one: (-one[1], one[0]))[:10]
    assert [(one["word"], one["occurrences"]) for one in body["data"]] == expected
    for one in body["data"]:
        entry = find_entry(one["word"])
        assert entry is not None
        assert (one["definitions_state"], one["phonetic"], one["stale"]) == ("found", entry["phonetic"], False)
        assert [meaning["definition"] for meaning in one["definitions"]]
        assert one["fetched_at"] is not None


async def test_the_words_come_when_the_dictionary_is_away(stack: Stack, sandbox: httpx2.AsyncClient) -> None:
    (await sandbox.put("/faults", json={"path": "/entries", "status": 503})).raise_for_status()
    await store(stack, TEXT)
    body = await looked_up(stack, "unavailable")
    words = [(one["word"], one["occurrences"]) for one in body["data"]]
    assert words == [("the", 6), ("mill", 5), ("of", 4), ("qwxz", 3), ("steady", 2), ("bright", 1)]
    for one in body["data"]:
        assert (one["definitions_state"], one["definitions"], one["phonetic"]) == ("unavailable", None, None)
    requests = [line for line in (await sandbox.get("/requests")).json() if "/entries/" in line]
    assert len(requests) == 4  # and however often we ask, it is left in peace
    assert "unavailable" in stack.millrace("dictionary", "paragraphs").stdout


async def test_an_old_entry_is_served_with_its_age_until_there_is_a_newer_one(
    stack: Stack, sandbox: httpx2.AsyncClient, admin: asyncpg.Connection
) -> None:
    await store(stack, TEXT)
    before = await looked_up(stack, "complete")
    assert (state(before, "mill"), state(before, "qwxz")) == ("found", "unknown")
    (await sandbox.put("/faults", json={"path": "/entries", "status": 500})).raise_for_status()
    fetched = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0) - dt.timedelta(days=3)
    await admin.execute(
        "UPDATE indexer.definitions SET fetched_at = $1, expires_at = $1::timestamptz + interval '1 day'", fetched
    )
    await looked_up(stack, "complete")

    async def left_in_peace() -> bool:
        return bool(await admin.fetchval("SELECT count(*) FROM indexer.dictionaries"))

    assert await eventually(left_in_peace, SECONDS)
    body = await looked_up(stack, "complete")
    for one, earlier in zip(body["data"], before["data"], strict=True):
        assert one == {**earlier, "stale": True, "fetched_at": f"{fetched:%Y-%m-%dT%H:%M:%SZ}"}
    assert f"as of {fetched:%Y-%m-%d}" in stack.millrace("dictionary", "paragraphs").stdout
    (await sandbox.delete("/faults")).raise_for_status()
    await admin.execute("UPDATE indexer.dictionaries SET retry_at = now()")

    async def fresh() -> bool:
        return not any(one["stale"] for one in (await get(stack, DICTIONARY))["data"])

    assert await eventually(fresh, SECONDS)


@pytest.mark.usefixtures("sandbox")
async def test_a_client_with_the_current_etag_gets_304(stack: Stack) -> None:
    await store(stack, TEXT)
    await looked_up(stack, "complete")
    tags: dict[str, str] = {}
    for path in (WORDS, DICTIONARY):
        answer = await stack.client.get(path)
        assert answer.headers["Cache-Control"] == "private, no-cache"
        tag = tags[path] = answer.headers["ETag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = await stack.client.get(path, headers={"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    await store(stack, "another")
    for path, tag in tags.items():
        again = await stack.client.get(path, headers={"If-None-Match": tag})
        assert (again.status_code, again.headers["ETag"] != tag) == (200, True)


@pytest.mark.usefixtures("sandbox")
async def test_words_with_their_stop_words_and_without(stack: Stack, admin: asyncpg.Connection) -> None:
    await store(stack, TEXT)
    await store(stack, "the Mill's")
    body = await get(stack, WORDS, limit=3)
    assert body["data"] == [
        {"word": "the", "documents": 2, "occurrences": 7},
        {"word": "mill", "documents": 2, "occurrences": 6},
        {"word": "of", "documents": 1, "occurrences": 4},
    ]
    assert body["total"] == 7
    version = await admin.fetchval("SELECT version FROM ingestor.datasets WHERE name = 'paragraphs'")
    assert body["version"] == body["dataset_version"] == version
    without = await get(stack, WORDS, stop_words="drop", limit=2)
    assert [one["word"] for one in without["data"]] == ["mill", "qwxz"]
    defined = await looked_up(stack, "complete", stop_words="drop", limit=2)
    assert [one["word"] for one in defined["data"]] == ["mill", "qwxz"]
    shown = stack.millrace("words", "paragraphs", "--limit", "1", "--stop-words", "drop").stdout.splitlines()
    assert [line.split() for line in shown] == [
        ["WORD", "DOCUMENTS", "OCCURRENCES"],
        ["mill", "2", "6"],
        ["1", "of", "7", "words"],
    ]


@pytest.mark.usefixtures("sandbox")
async def test_who_asks_for_what_is_missing_has_it_looked_up(stack: Stack, admin: asyncpg.Connection) -> None:
    await store(stack, TEXT)
    await looked_up(stack, "complete")
    before = await definition_requests(stack)
    await get(stack, DICTIONARY)
    assert await definition_requests(stack) == before  # nothing is missing

    async def more() -> bool:
        await admin.execute("UPDATE indexer.definitions SET expires_at = now() WHERE word = 'mill'")
        await get(stack, DICTIONARY)
        return await definition_requests(stack) > before

    assert await eventually(more, SECONDS)


async def definition_requests(stack: Stack) -> float:
    """How often the gateway has requested definitions."""
    text = (await stack.client.get("/metrics")).text
    found = re.search(r'^millrace_published_total\{message="define_words"\} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


@pytest.mark.usefixtures("sandbox")
async def test_a_dataset_without_a_dictionary_has_words_all_the_same(stack: Stack) -> None:
    await imported(stack, "departments", "1,Mill Mill\n", header="absent")
    await counted(stack, "departments")
    body = await get(stack, "/v1/datasets/departments/dictionary", limit=100)
    assert body["definitions"] == "not_declared"
    (found,) = body["data"]
    assert (found["word"], found["occurrences"], found["definitions_state"]) == ("mill", 2, None)


@pytest.mark.usefixtures("sandbox")
async def test_a_dictionary_shows_as_many_words_as_are_looked_up(stack: Stack) -> None:
    await store(stack, TEXT)
    await looked_up(stack, "complete", limit=100)
    declared = (await get(stack, "/v1/datasets/paragraphs"))["declaration"]
    changed = {**declared, "dictionary": {**declared["dictionary"], "words": 3}}
    try:
        assert (await stack.client.put("/v1/datasets/paragraphs", json=changed)).status_code == 200
        assert len((await get(stack, DICTIONARY))["data"]) == 3
        assert len((await get(stack, DICTIONARY, limit=2))["data"]) == 2
        answer = await stack.client.get(DICTIONARY, params={"limit": 4})
        assert (answer.status_code, answer.json()["code"]) == (422, "limit_too_large")
    finally:
        assert (await stack.client.put("/v1/datasets/paragraphs", json=declared)).status_code == 200


async def test_a_dataset_that_is_not_searched_has_no_words(stack: Stack) -> None:
    declared = {"title": "Numbers", "fields": [{"name": "number", "type": "integer"}]}
    assert (await stack.client.put("/v1/datasets/wordless", json=declared)).status_code == 201
    for route in ("words", "dictionary"):
        answer = await stack.client.get(f"/v1/datasets/wordless/{route}")
        assert (answer.status_code, answer.json()["code"]) == (422, "not_searchable")
    await forget(stack, "wordless")


@pytest.mark.parametrize(
    ("dataset", "parameters", "status", "code"),
    [
        ("nowhere", {}, 404, "not_found"),
        ("paragraphs", {"limit": 0}, 422, "invalid_request"),
        ("paragraphs", {"limit": 1001}, 422, "invalid_request"),
        ("paragraphs", {"stop_words": "maybe"}, 422, "invalid_request"),
        ("paragraphs", {"limt": 10}, 422, "unknown_parameter"),
        ("customers", {"stop_words": "drop"}, 422, "no_stop_words"),
    ],
)
@pytest.mark.parametrize("route", ["words", "dictionary"])
async def test_requests_that_are_refused(
    stack: Stack, route: str, dataset: str, parameters: dict[str, Any], status: int, code: str
) -> None:
    answer = await stack.client.get(f"/v1/datasets/{dataset}/{route}", params=parameters)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_the_lists_of_stop_words_are_those_of_postgres(admin: asyncpg.Connection) -> None:
    rows = await admin.fetch("SELECT dictname FROM pg_ts_dict WHERE dictinitoption ~ 'stopwords'")
    assert {row["dictname"] for row in rows} == {f"{language}_stem" for language in LISTED}
