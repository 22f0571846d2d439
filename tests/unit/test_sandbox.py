"""The sandbox: reproducible data, the APIs of the seed systems, injected faults."""

import re
from collections.abc import AsyncIterator

import httpx2
import pytest

from sandbox.world import World
from tests.fake_source import TOKEN, FakeSource
from tests.stack import ROOT

CRM = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
async def client(fake_source: FakeSource) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=fake_source.url) as started:
        yield started


def test_initial_data_is_the_same_every_time() -> None:
    assert World().tables == World().tables
    assert World().next_paragraph() == World().next_paragraph()
    world = World()
    first = dict(world.tables["contacts"]["NB-0001"])
    world.put("contacts", "NB-0001", {"notes": "Changed."})
    world.reset()
    assert world.tables["contacts"]["NB-0001"] == first


async def test_customers(client: httpx2.AsyncClient) -> None:
    page = (await client.get("/api/customers", params={"page": 3, "limit": 10})).json()
    assert (page["total"], page["page"], page["limit"]) == (21, 3, 10)
    assert [row["customer_id"] for row in page["data"]] == ["CUST021"]
    one = await client.get("/api/customers/CUST021")
    assert one.json() == page["data"][0]
    assert (await client.get("/api/customers/CUST999")).status_code == 404
    assert (await client.get("/api/health")).json() == {"status": "healthy"}


async def test_contacts_need_the_token_and_come_by_cursor(client: httpx2.AsyncClient) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert (await client.get("/contacts", headers=headers)).status_code == 401
    ids: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await client.get("/contacts", params={"after": cursor, "limit": 30}, headers=CRM)).json()
        ids += [row["id"] for row in page["contacts"]]
        cursor = page["cursors"]["next"]
        assert page["has_more"] == (cursor is not None)
    assert ids == [f"NB-{number:04}" for number in range(1, 49)]


async def test_changed_contacts_come_last(client: httpx2.AsyncClient) -> None:
    changed = (await client.put("/world/contacts/NB-0002", json={"notes": "Changed."})).json()
    assert (await client.delete("/world/contacts/NB-0003")).status_code == 204
    assert (await client.delete("/world/contacts/NB-0003")).status_code == 404
    since = {"updated_since": changed["updated_at"]}
    assert (await client.get("/contacts", params=since, headers=CRM)).json()["contacts"] == [changed]
    await client.put("/world/contacts/NB-0004", json={})
    rows = (await client.get("/contacts", params=since, headers=CRM)).json()["contacts"]
    assert [row["id"] for row in rows] == ["NB-0002", "NB-0004"]
    made = (await client.put("/world/customers/CUST100", json={"last_name": "New"})).json()
    assert made == {"customer_id": "CUST100", "last_name": "New"}
    await client.post("/reset")
    assert (await client.get("/api/customers")).json()["total"] == 21


async def test_paragraphs_and_the_dictionary_of_their_words(client: httpx2.AsyncClient) -> None:
    answers = [(await client.get("/paragraph")) for _ in range(2)]
    assert answers[0].text != answers[1].text
    assert answers[0].headers["Content-Type"].startswith("text/plain")
    for answer in answers:
        assert 45 <= answer.text.count(".") <= 55
        for word in set(re.findall("[a-z]+", answer.text.lower())):
            (entry,) = (await client.get(f"/entries/{word}")).json()
            assert entry["word"] == word
            assert entry["phonetic"].strip("/")
            assert entry["meanings"][0]["definitions"][0]["definition"]
    assert (await client.get("/entries/qwertz")).status_code == 404


async def test_items_by_offset_and_by_links(client: httpx2.AsyncClient) -> None:
    page = await client.get("/items", params={"offset": 200, "limit": 1000})
    assert (page.json()["total"], len(page.json()["items"]), page.links) == (250, 50, {})
    page = await client.get("/items", params={"limit": 1000})
    assert len(page.json()["items"]) == 100
    assert page.links["next"]["url"] == "/items?offset=100&limit=1000"


async def test_faults_apply_to_their_path_and_number_of_requests(client: httpx2.AsyncClient) -> None:
    fault = {"path": "/api/customers", "status": 503, "retry_after": 2, "times": 2}
    assert (await client.put("/faults", json=fault)).status_code == 200
    assert (await client.get("/items")).status_code == 200
    for _ in range(2):
        answer = await client.get("/api/customers")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert (await client.get("/api/customers")).status_code == 200
    await client.put("/faults", json={"garbage": True})
    assert not (await client.get("/items")).text.endswith("}")
    assert (await client.get("/api/health")).status_code == 200  # control routes have no faults
    await client.delete("/faults")
    assert (await client.get("/items")).json()["total"] == 250
    assert (await client.put("/faults", json={"misspelt": True})).status_code == 400


async def test_requests_are_recorded(client: httpx2.AsyncClient) -> None:
    await client.get("/items?offset=5")
    await client.get("/api/customers/CUST001")
    assert (await client.get("/requests")).json() == ["GET /items?offset=5", "GET /api/customers/CUST001"]


def test_no_sample_has_a_contact_of_the_crm() -> None:
    emails = {row["email"] for row in World().rows("contacts")}
    assert len(emails) == 48
    sample = (ROOT / "samples" / "contacts.csv").read_text()
    assert not [email for email in emails if email in sample]
