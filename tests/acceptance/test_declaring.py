"""Declaring, changing and drafting datasets over HTTP."""

import asyncio
import gzip
import tomllib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.acceptance.import_files import forget, get, imported
from tests.acceptance.test_refusals import problem
from tests.stack import Stack
from tests.waiting import eventually

SECONDS = 30.0
ID = {"name": "id", "type": "integer", "required": True}
NAME = {"name": "name", "type": "string"}
THINGS: dict[str, Any] = {"title": "Things", "primary_key": ["id"], "fields": [ID, NAME]}
YEARLY = {"field": "at", "every": "year"}
AT = {"name": "at", "type": "date", "required": True}


@pytest.fixture
async def name(stack: Stack, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """Of a dataset that no other test has, and that is not left behind."""
    name = f"t{abs(hash(request.node.nodeid)) % 10**12}"
    yield name
    await forget(stack, name)


async def put(stack: Stack, name: str, declaration: Any, **headers: str) -> httpx2.Response:
    return await stack.client.put(f"/v1/datasets/{name}", json=declaration, headers=headers)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"primary_key": []},
        {"primary_key": [], "partition_by": YEARLY, "fields": [ID, NAME, AT]},
        {"primary_key": ["id", "at"], "partition_by": YEARLY, "fields": [ID, NAME, AT]},
        {"search": {"fields": ["name"]}, "rollups": [{"name": "r", "group_by": ["id"], "measures": {"n": "count"}}]},
    ],
)
async def test_a_declared_dataset_can_be_used_at_once(stack: Stack, name: str, changes: dict[str, Any]) -> None:
    declaration = {**THINGS, **changes}
    answer = await put(stack, name, declaration)
    assert answer.status_code == 201, answer.text
    assert (answer.headers["etag"], answer.headers["location"]) == ('"1"', f"/v1/datasets/{name}")
    assert answer.json()["declaration"] == {key: value for key, value in declaration.items() if value != []}
    rows = (
        "id,name,at\n1,Ada,2021-05-06\n2,Bo,2022-05-06\n" if AT in declaration["fields"] else "id,name\n1,Ada\n2,Bo\n"
    )
    job = await imported(stack, name, rows)
    assert (job["status"], job["outcome"]["inserted"]) == ("succeeded", 2)
    assert (await get(stack, f"/v1/datasets/{name}/rows"))["total"] == 2


async def test_the_same_again_changes_nothing(stack: Stack, name: str) -> None:
    assert (await put(stack, name, THINGS)).status_code == 201
    again = await put(stack, name, {**THINGS, "fields": [{**ID, "description": ""}, NAME]})
    assert (again.status_code, again.headers["etag"]) == (200, '"1"')


async def test_a_safe_change_is_applied_under_the_rows(stack: Stack, name: str) -> None:
    await put(stack, name, {**THINGS, "indexes": [["id"]]})
    await imported(stack, name, "id,name\n1,Ada\n")
    fields = [ID, {**NAME, "max_length": 50}, {"name": "state", "type": "string", "required": True, "default": "new"}]
    changed = await put(stack, name, {**THINGS, "title": "Others", "fields": fields})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    read = await stack.client.get(f"/v1/datasets/{name}")
    assert (read.headers["etag"], read.json()) == ('"2"', changed.json())
    job = await imported(stack, name, "id,name,state\n2,Bo,old\n3,Cy,\n")
    assert job["status"] == "succeeded"
    rows = (await get(stack, f"/v1/datasets/{name}/rows"))["data"]
    assert [(row["id"], row["state"]) for row in rows] == [(1, "new"), (2, "old"), (3, "new")]


async def test_an_unsafe_change_is_refused_with_all_reasons(stack: Stack, name: str) -> None:
    await put(stack, name, THINGS)
    answer = await put(stack, name, {"title": "Things", "fields": [{**ID, "type": "uuid"}]})
    body = problem(answer, 409, "unsafe_change")
    assert [error["detail"] for error in body["errors"]] == [
        "field 'name' can't be removed: its values would be lost",
        "field 'id' can't become uuid: its values are integer",
        "primary_key can't change, because existing rows are identified by it: declare a dataset with another name",
    ]
    assert (await stack.client.get(f"/v1/datasets/{name}")).headers["etag"] == '"1"'


async def test_mistakes_are_reported_all_at_once_with_their_places(stack: Stack, name: str) -> None:
    fields = [{**ID, "type": "int"}, {**NAME, "minimum": 5, "patern": "x"}]
    body = problem(await put(stack, name, {**THINGS, "fields": fields, "colour": "red"}), 422, "invalid_declaration")
    assert [error["pointer"] for error in body["errors"]] == ["#/colour", "#/fields/1/patern"]
    fields = [{**ID, "type": "int"}, {**NAME, "minimum": 5}]
    body = problem(await put(stack, name, {**THINGS, "fields": fields}), 422, "invalid_declaration")
    assert [error["pointer"] for error in body["errors"]] == ["#/fields/0/type", "#/fields/1/minimum"]
    problem(await put(stack, name, [THINGS]), 422, "invalid_declaration")
    problem(await put(stack, name, {**THINGS, "name": name}), 422, "invalid_declaration")
    problem(await put(stack, "Nothing", THINGS), 422, "invalid_declaration")
    broken = await stack.client.put(f"/v1/datasets/{name}", content=b"{")
    problem(broken, 400, "invalid_json")
    problem(await put(stack, name, {**THINGS, "description": "x" * (256 << 10)}), 413, "too_large")
    problem(await stack.client.get(f"/v1/datasets/{name}"), 404, "not_found")


async def test_if_match_guards_what_others_have_changed(stack: Stack, name: str) -> None:
    problem(await put(stack, name, THINGS, **{"If-Match": "*"}), 412, "precondition_failed")
    await put(stack, name, THINGS)
    mine, theirs = {**THINGS, "title": "Mine"}, {**THINGS, "title": "Theirs"}
    assert (await put(stack, name, theirs, **{"If-Match": '"1"'})).headers["etag"] == '"2"'
    problem(await put(stack, name, mine, **{"If-Match": '"1"'}), 412, "precondition_failed")
    problem(await put(stack, name, theirs, **{"If-Match": '"1"'}), 412, "precondition_failed")
    assert (await put(stack, name, mine, **{"If-Match": '"1", "2"'})).headers["etag"] == '"3"'


async def test_of_two_at_once_one_wins_and_the_other_hears_of_it(stack: Stack, name: str) -> None:
    await put(stack, name, THINGS)
    answers = await asyncio.gather(*(put(stack, name, {**THINGS, "title": f"Title {n}"}) for n in range(5)))
    statuses = sorted(answer.status_code for answer in answers)
    assert set(statuses) <= {200, 409}
    stands = await get(stack, f"/v1/datasets/{name}")
    assert 1 <= statuses.count(200) <= stands["revision"] - 1
    assert any(answer.json().get("title") == stands["title"] for answer in answers)
    for answer in answers:
        if answer.status_code == 409:
            problem(answer, 409, "conflict")


@pytest.mark.usefixtures("faults")
async def test_what_was_declared_over_http_outlives_a_restart_of_the_ingestor(stack: Stack, name: str) -> None:
    await put(stack, name, THINGS)
    changed = await put(stack, name, {**THINGS, "fields": [ID, NAME, {"name": "floor", "type": "integer"}]})
    before = stack.pid("ingestor")
    stack.kill("ingestor")

    async def comes_back() -> bool:
        return (stack.home / "pids" / "ingestor").exists() and stack.pid("ingestor") != before

    await eventually(comes_back, SECONDS)
    await eventually(lambda: is_ready(stack.env["INGESTOR_URL"]), SECONDS)
    assert (await get(stack, f"/v1/datasets/{name}"))["revision"] == changed.json()["revision"] == 2
    assert (await imported(stack, name, "id,name,floor\n1,Ada,9\n"))["status"] == "succeeded"


async def is_ready(url: str) -> bool:
    async with httpx2.AsyncClient() as client:
        try:
            return (await client.get(f"{url}/health/ready")).is_success
        except httpx2.TransportError:
            return False


async def test_while_the_ingestor_is_away_a_declaration_is_accepted_and_applied_later(stack: Stack, name: str) -> None:
    stopped = await asyncio.to_thread(stack.millrace, "down", "ingestor")
    assert stopped.returncode == 0, stopped.stderr
    answer = await put(stack, name, THINGS)
    assert (answer.status_code, answer.json()["revision"]) == (202, 0)
    assert "retry-after" in answer.headers
    problem(await stack.client.get(f"/v1/datasets/{name}"), 404, "not_found")
    started = await asyncio.to_thread(stack.millrace, "up", "ingestor")
    assert started.returncode == 0, started.stderr

    async def stands() -> bool:
        return (await stack.client.get(f"/v1/datasets/{name}")).status_code == 200

    await eventually(stands, SECONDS)


NASTY = ("select", "order", "user", "row", "data", "key", "value", "x", "s", "stage", "total", "limit", "rank", "line")


async def test_any_name_will_do_for_a_field(stack: Stack, name: str) -> None:
    fields = [{**NAME, "name": word, "max_length": 20, "required": word == "key"} for word in NASTY]
    declared = await put(
        stack, name, {"title": "T", "primary_key": ["key"], "fields": fields, "search": {"fields": list(NASTY)}}
    )
    assert declared.status_code == 201, declared.text
    header = ",".join(NASTY)
    for text, fate in (("a", "inserted"), ("a", "unchanged"), ("b", "updated")):
        row = ",".join("k" if word == "key" else text for word in NASTY)
        job = await imported(stack, name, f"{header}\n{row}\n")
        assert (job["status"], job["outcome"][fate]) == ("succeeded", 1)
    assert (await get(stack, f"/v1/datasets/{name}/rows/k"))["select"] == "b"
    found = await get(stack, f"/v1/datasets/{name}/search", q="b")
    assert found["data"][0]["row"]["order"] == "b"


SAMPLES = {
    "text/csv": "id;First Name;price;when;zip\n"
    + "".join(f"{n};Ada {n};{n}.5;2021-11-0{n}T10:00:00Z;0{n}\n" for n in range(1, 9)),
    "text/tab-separated-values": "1\tAda\t2021-11-07\n2\tBo\t2021-11-08\n",
    "application/x-ndjson": '{"id": 1, "tags": ["a"], "price": 1.25}\n{"id": 2, "ok": true}\n',
    "application/json": '[{"id": 1, "at": "2021-11-07"}, {"id": 2, "at": null}]',
}


@pytest.mark.parametrize("kind", SAMPLES)
async def test_a_draft_is_put_as_it_is_and_loads_its_sample(stack: Stack, name: str, kind: str) -> None:
    headers = {"Content-Type": kind}
    sample = SAMPLES[kind].encode()
    answer = await stack.client.post("/v1/datasets/infer", params={"name": name}, content=sample, headers=headers)
    assert answer.status_code == 200, answer.text
    draft = answer.json()
    assert draft["name"] == name
    assert tomllib.loads(draft["toml"]) == draft["declaration"]
    assert (await put(stack, name, draft["declaration"])).status_code == 201
    loaded = await stack.client.post(
        f"/v1/datasets/{name}/imports",
        params=draft["parameters"],
        content=sample,
        headers={**headers, "Prefer": "wait=60"},
    )
    assert (loaded.json()["status"], loaded.json()["outcome"]["inserted"]) == ("succeeded", draft["rows"])


async def test_a_draft_takes_what_an_import_takes(stack: Stack) -> None:
    async def draft(content: bytes, **headers: str) -> dict[str, Any]:
        sent = {"Content-Type": "text/csv", **headers}
        answer = await stack.client.post("/v1/datasets/infer", content=content, headers=sent)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    plain = "id,grüße\n1,Ä\n".encode()
    expected = await draft(plain)
    assert [field["name"] for field in expected["declaration"]["fields"]] == ["id", "grusse"]
    assert await draft(gzip.compress(plain), **{"Content-Encoding": "gzip"}) == expected
    assert await draft(plain.decode().encode("utf-16")) == expected
    form = await stack.client.post("/v1/datasets/infer", files={"file": ("a.csv", plain, "text/csv")})
    assert form.json() == expected


async def test_what_no_draft_can_be_made_of_is_refused(stack: Stack) -> None:
    async def sent(content: bytes, kind: str = "text/csv", **parameters: str) -> httpx2.Response:
        headers = {"Content-Type": kind}
        return await stack.client.post("/v1/datasets/infer", content=content, headers=headers, params=parameters)

    problem(await sent(b""), 422, "empty_file")
    problem(await sent(b"{}", "application/json"), 422, "not_json")
    problem(await sent(b"id\n" + b"1\n" * (1 << 19)), 413, "too_large")
    problem(await sent(b"id\n", "image/png"), 415, "unsupported_media_type")
    problem(await sent(b"id\n", delimiter="ab"), 422, "bad_delimiter")
    assert (await sent(b"id\n" + b"1\n" * ((1 << 19) - 2))).status_code == 200


async def test_from_a_file_to_a_dataset_with_two_commands(stack: Stack, name: str, tmp_path: Any) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id|name\n" + "".join(f"{n}|Ada\n" for n in range(100)))
    drafted = await asyncio.to_thread(stack.millrace, "infer", str(file), "-n", name)
    assert drafted.returncode == 0, drafted.stderr
    (tmp_path / f"{name}.toml").write_text(drafted.stdout)
    declared = await asyncio.to_thread(stack.millrace, "declare", str(tmp_path / f"{name}.toml"))
    assert (declared.returncode, declared.stdout) == (0, f"{name} is declared, revision 1.\n")
    command = drafted.stderr.splitlines()[-1].partition("millrace ")[2].split()
    loaded = await asyncio.to_thread(stack.millrace, *command)
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr
    (tmp_path / f"{name}.toml").write_text(drafted.stdout.replace('"integer"', '"uuid"'))
    refused = await asyncio.to_thread(stack.millrace, "declare", str(tmp_path / f"{name}.toml"))
    assert refused.returncode == 1
    assert "field 'id' can't become uuid" in refused.stderr
