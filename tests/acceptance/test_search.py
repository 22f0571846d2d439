"""Search over HTTP: parameters, freshness, and answers while rows are loaded."""

import asyncio
import random
import time
from typing import Any
from urllib.parse import quote

import pytest

from tests.acceptance.import_files import get, imported
from tests.acceptance.test_refusals import problem
from tests.stack import Stack
from tests.waiting import eventually

SECONDS = 60.0
BUDGET = 2.0
FIELDS = [
    {"name": "id", "type": "integer", "required": True},
    {"name": "name", "type": "string"},
    {"name": "text", "type": "string"},
    {"name": "kind", "type": "string"},
    {"name": "price", "type": "decimal(8,2)"},
    {"name": "extra", "type": "object"},
]
FILE = """id,name,text,kind,price
1,Red chair,"A <b>chair</b> & a table, for the kitchen",wood,10.50
2,Blue chair,Chairs of a café,metal,20
3,Green table,"Cafe tables, folded",wood,
4,Lamp,"One lamp: ones, none, and 42",,5
"""


async def declared(stack: Stack, name: str, search: dict[str, Any] | None) -> None:
    declaration: dict[str, Any] = {"title": "Things", "primary_key": ["id"], "fields": FIELDS}
    answer = await stack.client.put(
        f"/v1/datasets/{name}", json={**declaration, **({"search": search} if search else {})}
    )
    assert answer.status_code in (200, 201), answer.text


async def built(stack: Stack, name: str) -> bool:
    """Whether it can be searched by now."""
    return (await stack.client.get(f"/v1/datasets/{name}/search")).status_code == 200


async def found(stack: Stack, name: str, version: int, **parameters: Any) -> Any:
    """The answer, once the dataset can be searched up to this version."""
    answer = await stack.client.get(
        f"/v1/datasets/{name}/search",
        params={"min_version": version, **parameters},
        headers={"Prefer": "wait=60, handling=strict"},
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


async def counted(stack: Stack, name: str, beginning: str) -> None:
    """Until words are counted: corrections and suggestions know them from then on."""

    async def is_suggested() -> bool:
        return bool((await get(stack, f"/v1/datasets/{name}/search/suggest", q=beginning))["data"])

    await eventually(is_suggested, SECONDS)


def ids(body: Any) -> list[int]:
    return [hit["row"]["id"] for hit in body["data"]]


@pytest.fixture(scope="module")
async def things(stack: Stack) -> str:
    await declared(stack, "sought_things", {"fields": ["name", "text"], "weights": {"name": 3}})
    job = await imported(stack, "sought_things", FILE)
    assert job["status"] == "succeeded"
    await counted(stack, "sought_things", "lamp")
    return "sought_things"


ALIKE: list[dict[str, Any]] = [
    {"q": "chair"},
    {"q": '"red chair" or lamp', "highlight": ("name", "text"), "facets": ("kind", "price"), "limit": 1},
    {"q": "cafés -blue", "fields": ("text",)},
    {"q": "ta*", "sort": "price.desc.nullslast", "count": "exact"},
    {"words": ("ONE",)},
    {"words": ("one", "chair"), "operator": "or", "sort": "id"},
    {"q": "lmap"},
    {"q": "lapm", "typos": "off"},
    {"q": "", "filters": {"kind": "eq.wood", "price": ("gte.1", "lt.100")}},
    {"q": "chair", "filters": {"or": "(kind.eq.metal,price.is.null)"}},
    {"q": "\u202e'; -- \\ <-> !& |:* \" ÄÖ 🙂"},
]


@pytest.mark.parametrize("body_sent", ALIKE)
async def test_parameters_and_a_body_ask_the_same(stack: Stack, things: str, body_sent: dict[str, Any]) -> None:
    path = f"/v1/datasets/{things}/search"
    parameters: list[tuple[str, str]] = []
    for name, value in body_sent.items():
        if name == "filters":
            parameters += [
                (field, one) for field, texts in value.items() for one in ([texts] if isinstance(texts, str) else texts)
            ]
        elif name == "words":
            parameters += [("words", word) for word in value]
        else:
            parameters.append((name, ",".join(value) if isinstance(value, tuple) else str(value)))
    by_get = await stack.client.get(path, params=tuple(parameters))
    by_post = await stack.client.post(path, json=body_sent)
    assert (by_get.status_code, by_post.status_code) == (200, 200), by_get.text + by_post.text
    one, other = by_get.json(), by_post.json()
    assert one["meta"].pop("seconds") + other["meta"].pop("seconds") < BUDGET
    assert one == other
    assert one["meta"]["complete"] is True
    if one["next"]:
        rest = (await stack.client.post(path, json={**body_sent, "cursor": one["next"]})).json()
        assert rest["data"]
        assert not set(ids(rest)) & set(ids(one))


async def test_an_answer_has_everything(stack: Stack, things: str) -> None:
    body = await get(
        stack, f"/v1/datasets/{things}/search", q="Chairs", highlight="name,text", facets="kind", sort="id"
    )
    assert body["data"][0]["row"] == {
        "id": 1,
        "name": "Red chair",
        "text": "A <b>chair</b> & a table, for the kitchen",
        "kind": "wood",
        "price": 10.5,
        "extra": None,
    }
    assert body["data"][0]["highlight"] == {
        "name": ["Red <mark>chair</mark>"],
        "text": ["A &lt;b&gt;<mark>chair</mark>&lt;/b&gt; &amp; a table, for the kitchen"],
    }
    assert body["total"] == {"value": 2, "relation": "eq"}
    assert body["facets"]["kind"] == {
        "values": [{"value": "metal", "count": 1}, {"value": "wood", "count": 1}],
        "other_count": 0,
        "counted": 2,
        "approximate": False,
    }
    assert (body["next"], body["meta"]["version"], body["meta"]["words"]) == (None, 1, ["chair", "chairs"])


async def test_accents_case_and_whole_words(stack: Stack, things: str) -> None:
    path = f"/v1/datasets/{things}/search"
    for q in ("cafe", "CAFÉ", "cafe\u0301s"):
        assert sorted(ids(await get(stack, path, q=q))) == [2, 3]
    assert ids(await get(stack, path, words="café")) == [2]
    assert [ids(await get(stack, path, words=word)) for word in ("one", "ones", "none", "on", "NONE")] == [
        *([4], [4], [4], [], [4])
    ]
    assert ids(await get(stack, path, q="lmap")) == [4]
    corrected = await get(stack, path, q="lmap")
    assert corrected["meta"]["corrections"] == [{"word": "lmap", "corrected": ["lamp"]}]
    assert ids(await get(stack, path, q="lmap", typos="off")) == []


async def test_how_a_question_may_go_on(stack: Stack, things: str) -> None:
    path = f"/v1/datasets/{things}/search/suggest"
    assert (await get(stack, path, q="red CH"))["data"] == [
        {"q": "red chair", "word": "chair", "documents": 2},
        {"q": "red chairs", "word": "chairs", "documents": 1},
    ]
    assert (await get(stack, path, q="ta", limit=1))["data"] == [{"q": "table", "word": "table", "documents": 2}]
    assert (await get(stack, path, q="\u202e% _"))["data"] == []
    refused: list[dict[str, Any]] = [{"q": ""}, {}, {"q": "a", "limit": 0}, {"q": "a", "limit": 101}, {"q": "a" * 1001}]
    for wrong in refused:
        problem(await stack.client.get(path, params=wrong), 422, "invalid_request")
    body = problem(await stack.client.get(path, params={"q": "a", "size": "5"}), 422, "unknown_parameter")
    assert body["errors"][0]["column"] == "size"


@pytest.mark.parametrize(
    ("body_sent", "code", "column", "detail"),
    [
        ({"filters": {"colour": "eq.x"}}, "unknown_parameter", "colour", "'colour' is not known"),
        ({"filters": {"knid": "eq.x"}}, "unknown_parameter", "knid", "did you mean 'kind'?"),
        ({"filters": {"price": "eq.cheap"}}, "invalid_query", "price", "cheap"),
        ({"filters": {"kind": "wood"}}, "invalid_query", "kind", "kind=eq.wood"),
        ({"fields": ["nam"]}, "unknown_field", "fields", "did you mean 'name'?"),
        ({"fields": ["kind"]}, "unknown_field", "fields", "is not searched"),
        ({"fields": ["name", "name"]}, "twice", "fields", "named twice"),
        ({"highlight": ["kind"]}, "unknown_field", "highlight", "is not searched"),
        ({"facets": ["colour"]}, "unknown_field", "facets", "'colour'"),
        ({"facets": ["extra"]}, "unknown_field", "facets", "'extra'"),
        ({"sort": "colour"}, "invalid_query", "order", "'colour'"),
        ({"sort": "name.up"}, "invalid_query", "order", "up"),
        ({"cursor": "nonsense"}, "bad_cursor", "cursor", "not a cursor"),
        ({"cursor": ""}, "bad_cursor", "cursor", "not a cursor"),
        ({"words": ["one"]}, "unfit_parameter", "words", "q and words can't be combined"),
        ({"limit": 0}, "invalid_request", "limit", ""),
        ({"limit": 201}, "invalid_request", "limit", ""),
        ({"limit": "many"}, "invalid_request", "limit", ""),
        ({"operator": "xor"}, "invalid_request", "operator", ""),
        ({"typos": "on"}, "invalid_request", "typos", ""),
        ({"count": "all"}, "invalid_request", "count", ""),
        ({"min_version": -1}, "invalid_request", "min_version", ""),
        ({"q": "x" * 1001}, "invalid_request", "q", ""),
    ],
)
async def test_what_is_wrong_is_reported_by_its_name(
    stack: Stack, things: str, body_sent: dict[str, Any], code: str, column: str, detail: str
) -> None:
    path = f"/v1/datasets/{things}/search"
    body_sent = {"q": "chair", **body_sent}
    parameters = {**body_sent, **body_sent.get("filters", {})}
    parameters.pop("filters", None)
    joined = {
        name: ",".join(value) if isinstance(value, list) and name != "words" else value
        for name, value in parameters.items()
    }
    by_get = problem(await stack.client.get(path, params=joined), 422, code)
    by_post = problem(await stack.client.post(path, json=body_sent), 422, code)
    for body in (by_get, by_post):
        (error,) = body["errors"]
        assert column in (error.get("column"), error.get("pointer", "").removeprefix("#/")), error
        assert detail in error["detail"]


async def test_a_body_is_refused_for_what_it_has_too_much(stack: Stack, things: str) -> None:
    path = f"/v1/datasets/{things}/search"
    problem(await stack.client.post(path, json={"q": "a", "colour": "red"}), 422, "invalid_request")
    problem(await stack.client.post(path, json={"words": ["a"] * 33}), 422, "invalid_request")
    problem(await stack.client.post(path, json={"q": "a", "filters": {"kind": 5}}), 422, "invalid_request")
    problem(await stack.client.post(path, content=b"{"), 400, "bad_request")
    problem(await stack.client.post(path, content=b'{"q": "\\ud800"}'), 400, "bad_request")
    problem(await stack.client.post(path, json={"q": "a", "sort": "x" * (1 << 18)}), 413, "too_large")
    problem(await stack.client.post(path, json={"q": "a"}, params={"limit": 1}), 422, "unknown_parameter")
    problem(await stack.client.get("/v1/datasets/nothing/search"), 404, "not_found")
    await declared(stack, "sought_nothing", None)
    for at in ("search?q=a", "search/suggest?q=a"):
        body = problem(await stack.client.get(f"/v1/datasets/sought_nothing/{at}"), 422, "not_searchable")
        assert "search" in body["hint"]


async def test_fields_can_be_counted_up_to_a_limit_and_those_behind_the_third_are_one(stack: Stack) -> None:
    fields = [FIELDS[0], *({"name": f"f{number}", "type": "string"} for number in range(25))]
    search = {"fields": [f"f{number}" for number in range(5)]}
    declaration = {"title": "Wide", "primary_key": ["id"], "fields": fields, "search": search}
    answer = await stack.client.put("/v1/datasets/sought_wide", json=declaration)
    assert answer.status_code in (200, 201), answer.text
    path = "/v1/datasets/sought_wide/search"
    names = [f"f{number}" for number in range(25)]
    await eventually(lambda: built(stack, "sought_wide"), SECONDS)
    body = await get(stack, path, facets=",".join(names[:20]))
    assert sorted(body["facets"]) == sorted(names[:20])
    refused = problem(await stack.client.get(path, params={"facets": ",".join(names[:21])}), 422, "too_many")
    assert refused["errors"][0]["column"] == "facets"
    for chosen in ("f3", "f0,f4"):
        refused = problem(await stack.client.get(path, params={"q": "a", "fields": chosen}), 422, "unfit_fields")
        assert "f3, f4 can only be searched together" in refused["errors"][0]["detail"]
    assert (await get(stack, path, q="a", fields="f3,f4"))["data"] == []


async def test_any_bytes_are_a_question(stack: Stack, things: str) -> None:
    chance = random.Random(2)
    path = f"/v1/datasets/{things}/search"
    for _ in range(60):
        raw = "".join(chance.choice("ab\"'\\-*:&|!()<> \0\n%;é🙂\u0301\u202e") for _ in range(chance.randint(1, 60)))
        for name in ("q", "words"):
            answer = await stack.client.get(f"{path}?{name}={quote(raw)}&highlight=name,text&facets=kind")
            assert answer.status_code == 200, (raw, answer.text)
            assert answer.json()["meta"]["complete"] is True
        suggested = await stack.client.get(f"{path}/suggest?q={quote(raw)}")
        assert suggested.status_code == 200, (raw, suggested.text)
    assert (await stack.client.get(f"{path}?q=%ff%fe%c3%28")).status_code == 200


async def test_who_writes_reads_it_and_never_finds_what_is_gone(stack: Stack) -> None:
    await declared(stack, "sought_news", {"fields": ["name", "text"]})
    path = "/v1/datasets/sought_news"
    words = [f"word{number}" for number in range(12)]
    for number, word in enumerate(words):
        answer = await stack.client.post(
            f"{path}/rows", json={"rows": [{"id": 1, "name": word}, {"id": 2, "text": f"{word} again"}]}
        )
        assert answer.status_code == 202, answer.text
        version = number + 1
        answer = await stack.client.get(
            f"{path}/search", params={"q": word, "min_version": version, "sort": "id"}, headers={"Prefer": "wait=30"}
        )
        assert (ids(answer.json()), answer.json()["meta"]["stale"]) == ([1, 2], False), answer.text
        assert int(answer.headers["X-Dataset-Version"]) >= version
        assert answer.headers["Preference-Applied"] == "wait=30"
        assert number == 0 or ids(await get(stack, f"{path}/search", q=words[number - 1], typos="off")) == []
    await imported(stack, "sought_news", "id,name\n3,other\n", mode="replace", max_shrink="1")
    assert ids(await found(stack, "sought_news", len(words) + 1, q=f"{words[-1]} or other", typos="off")) == [3]


async def test_an_answer_that_is_too_old_says_so_or_is_refused(stack: Stack, things: str) -> None:
    path = f"/v1/datasets/{things}/search"
    body_sent: dict[str, Any] = {"q": "chair", "min_version": 1000}
    began = time.monotonic()
    answer = await stack.client.get(path, params=body_sent, headers={"Prefer": "wait=1"})
    assert time.monotonic() - began >= 1
    assert (answer.status_code, answer.json()["meta"]["stale"], len(ids(answer.json()))) == (200, True, 2)
    assert "Preference-Applied" not in answer.headers
    for prefer in ("handling=strict", "wait=1, handling=strict"):
        refused = await stack.client.get(path, params=body_sent, headers={"Prefer": prefer})
        problem(refused, 503, "stale")
        assert refused.headers["Retry-After"] == "1"
        problem(await stack.client.post(path, json=body_sent, headers={"Prefer": prefer}), 503, "stale")


def many(first: int, count: int) -> bytes:
    """A file of rows of which all have some words, and each has a number."""
    line = "{0},Thing {0},every thing has words of which {1} are common and n{0} is not " + "and more " * 20 + ",k{2}\n"
    return ("id,name,text,kind\n" + "".join(line.format(n, n % 7, n % 5) for n in range(first, first + count))).encode()


async def job_ended(stack: Stack, job: str) -> Any:
    """The job, once it has."""

    async def ended() -> Any:
        body = (await stack.client.get(f"/v1/jobs/{job}")).json()
        return body if body["finished_at"] else None

    return await eventually(ended, SECONDS * 3)


async def accepted(stack: Stack, name: str, content: bytes) -> str:
    answer = await stack.client.post(
        f"/v1/datasets/{name}/imports", content=content, headers={"Content-Type": "text/csv"}
    )
    assert answer.status_code == 202, answer.text
    number: str = answer.json()["id"]
    return number


@pytest.mark.timeout(600)
async def test_searches_answer_in_time_while_much_is_loaded_and_the_index_is_declared_again(stack: Stack) -> None:
    name, count = "sought_many", 60_000
    await declared(stack, name, {"fields": ["name", "text"]})
    await imported(stack, name, many(1, 2000))
    await counted(stack, name, "common")
    job = await accepted(stack, name, many(2001, count))
    path = f"/v1/datasets/{name}/search"
    searches: list[dict[str, Any]] = [
        {"q": "words", "facets": "kind"},
        {"q": "n1999 thing"},
        {"q": '"every thing has"', "kind": "eq.k1"},
        {"words": "common", "sort": "price,id"},
        {"q": "commno wrods"},
        {"q": "th* -n5*", "highlight": "text"},
        {"q": ""},
    ]
    answers, version, following = 0, 0, asyncio.create_task(job_ended(stack, job))
    while not following.done():
        for parameters in searches:
            began = time.monotonic()
            answer = await stack.client.get(path, params=parameters)
            took = time.monotonic() - began
            assert answer.status_code == 200, answer.text
            body = answer.json()
            answers += 1
            assert took < BUDGET, (body, took, body["meta"])
            assert body["data"], body
            assert body["meta"]["complete"] or body["total"]["relation"] == "gte"
            assert version <= body["meta"]["version"] <= body["meta"]["dataset_version"]
            version = body["meta"]["version"]
    job_body = await following
    assert (job_body["status"], job_body["outcome"]["inserted"]) == ("succeeded", count), job_body
    assert answers >= len(searches)
    # With another declaration, the index is rebuilt meanwhile.
    await declared(stack, name, {"fields": ["text"], "language": "simple"})

    async def is_anew() -> bool:
        for parameters in searches:
            answer = await stack.client.get(path, params={**parameters, "count": "exact"})
            assert answer.status_code == 200, answer.text
            body = answer.json()
            if not body["meta"]["complete"]:  # a busy machine has no time to look everywhere
                return False
            assert body["data"], (parameters, body["meta"])
        plain = await get(stack, path, words="thing", count="exact", fields="text")
        if plain["total"]["relation"] == "gte":  # a busy machine has no time to count all
            return False
        assert plain["total"]["value"] == count + 2000
        return not plain["meta"]["detail"].startswith("Until the index is rebuilt")

    await eventually(is_anew, SECONDS * 2)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("faults")
async def test_an_indexer_that_was_killed_catches_up(stack: Stack) -> None:
    name, count = "sought_killed", 150_000
    await declared(stack, name, {"fields": ["name", "text"]})
    await eventually(lambda: built(stack, name), SECONDS)
    job = await accepted(stack, name, many(1, count))
    path = f"/v1/datasets/{name}/search"

    async def some_are_found() -> bool:
        answer = await stack.client.get(path, params={"q": "thing"})
        return answer.status_code == 200 and bool(answer.json()["data"])

    await eventually(some_are_found, SECONDS)
    before = stack.pid("indexer")
    assert (await get(stack, f"/v1/jobs/{job}"))["finished_at"] is None, "all was indexed before it could be killed"
    stack.kill("indexer")
    assert ids(await get(stack, path, q="thing"))  # the gateway does not need it to answer
    ended = await job_ended(stack, job)
    assert (ended["status"], ended["outcome"]["inserted"]) == ("succeeded", count)
    assert stack.pid("indexer") != before
    dataset = await get(stack, path, limit=1)
    answer = await found(stack, name, dataset["meta"]["dataset_version"], words="thing", count="exact")
    assert answer["total"] == {"value": count, "relation": "eq"}
    for number in (1, count // 2, count):
        assert ids(await get(stack, path, words=f"n{number}")) == [number]
