"""Syncs from the sandbox into real tables: complete, or with a warning, whatever the source does."""

from collections import Counter

import msgspec
import pytest

from services.ingestor.sources import pull, queries
from shared.bus.failures import PermanentFailure, TransientFailure
from shared.catalog.paginators import HeaderLink
from shared.catalog.source import DeleteMissing, Incremental
from shared.contracts.commands import PullPage
from shared.contracts.parts import Outcome
from shared.outgoing.http_client import OutboundClient
from tests.fake_source import TOKEN, FakeSource
from tests.integration.ingestor_runner import DATASETS, Ingestor
from tests.integration.sync_runner import Sync, redeclare

CONTACTS = DATASETS["contacts"]
CHANGED = Incremental(cursor_path="updated_at", start_param="updated_since")
ON_THE_WAY = Incremental(cursor_path="updated_at", start_param="updated_since", row_order="asc")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is enough for a chunk."""
    monkeypatch.setattr(pull, "ENOUGH_ROWS", 1)


def sync(ingestor: Ingestor, fake_source: FakeSource, dataset: str = "contacts") -> Sync:
    return Sync(ingestor, fake_source.client(), dataset, DATASETS[dataset].sources[0].name)


async def synced(ingestor: Ingestor, fake_source: FakeSource, dataset: str = "contacts") -> Sync:
    return await sync(ingestor, fake_source, dataset).finish()


async def contacts(ingestor: Ingestor) -> dict[str, str]:
    """E-mail address by the id that the CRM has for it."""
    return {row["nimbus_id"]: row["email"] for row in await ingestor.rows("contacts")}


def crm(fake_source: FakeSource) -> dict[str, str]:
    """The same, as the CRM has it."""
    return {row["id"]: row["email"] for row in fake_source.world.rows("contacts")}


async def cursor(ingestor: Ingestor) -> str | None:
    """How far the CRM was read."""
    async with ingestor.transaction() as db:
        return await queries.select_cursor(db, "contacts", "crm")


async def nothing_is_left(ingestor: Ingestor) -> bool:
    """Whatever a sync needs while it runs is gone, or was never there."""
    return not await ingestor.pool.fetchval("SELECT count(*) FROM (TABLE pulls) p FULL JOIN seen USING (job_id)")


async def test_all_customers_come_in_pages_and_the_second_time_nothing_changes(
    ingestor: Ingestor, fake_source: FakeSource
) -> None:
    first = await synced(ingestor, fake_source, "customers")
    assert (first.outcome, first.warning) == (Outcome(rows_read=21, inserted=21), "")
    assert fake_source.take_requests() == [f"GET /api/customers?limit=10&page={page}" for page in (1, 2, 3)]
    again = await synced(ingestor, fake_source, "customers")
    assert (again.outcome, again.warning) == (Outcome(rows_read=21, unchanged=21), "")
    rows = await ingestor.rows("customers")
    assert [row["customer_id"] for row in rows] == [f"CUST{number:03}" for number in range(1, 22)]
    there = fake_source.world.tables["customers"]["CUST007"]
    here = next(row for row in rows if row["customer_id"] == "CUST007")
    assert float(here["account_balance"]) == there["account_balance"]
    assert f"{here['created_at']:%Y-%m-%dT%H:%M:%SZ}" == there["created_at"]


async def test_contacts_keep_the_id_that_the_crm_has_for_them(ingestor: Ingestor, fake_source: FakeSource) -> None:
    assert (await synced(ingestor, fake_source)).outcome == Outcome(rows_read=48, inserted=48)
    assert len(fake_source.take_requests()) == 3
    assert await contacts(ingestor) == crm(fake_source)
    assert await nothing_is_left(ingestor)


@pytest.mark.usefixtures("small")
async def test_a_sync_brings_what_is_new_changed_and_gone(ingestor: Ingestor, fake_source: FakeSource) -> None:
    first = await synced(ingestor, fake_source)
    written = {chunk.ledger for chunk in first.loaded}
    fake_source.world.put("contacts", "NB-0003", {"notes": "Changed."})
    fake_source.world.put("contacts", "NB-0999", {"name": {"first": "New"}, "email": "new@nimbus.example"})
    del fake_source.world.tables["contacts"]["NB-0005"]
    second = await synced(ingestor, fake_source)
    assert second.outcome == Outcome(rows_read=48, inserted=1, updated=1, unchanged=46, deleted=1)
    assert await contacts(ingestor) == crm(fake_source)
    assert second.loaded[-1].outcome == Outcome(deleted=1)
    rows = await ingestor.pool.fetch("SELECT ledger, was, row->>'nimbus_id' AS id FROM replaced ORDER BY ledger")
    assert [row["id"] for row in rows] == ["NB-0003", "NB-0005"]
    assert rows[1]["ledger"] == second.loaded[-1].ledger
    assert {row["was"] for row in rows} <= written
    assert await nothing_is_left(ingestor)


async def test_rows_that_never_came_from_there_are_not_deleted(ingestor: Ingestor, fake_source: FakeSource) -> None:
    await ingestor.pool.execute("INSERT INTO data.contacts (email, _chunk) VALUES ('ours@here.example', 0)")
    await ingestor.pool.execute("INSERT INTO data.contacts (email, nimbus_id, _chunk) VALUES ('x@y', 'NB-gone', 0)")
    assert (await synced(ingestor, fake_source)).outcome == Outcome(rows_read=48, inserted=48, deleted=1)
    emails = [row["email"] for row in await ingestor.rows("contacts")]
    assert "ours@here.example" in emails
    assert "x@y" not in emails


async def test_when_suspiciously_much_is_gone_nothing_is_deleted(ingestor: Ingestor, fake_source: FakeSource) -> None:
    await synced(ingestor, fake_source)
    for number in range(1, 26):
        del fake_source.world.tables["contacts"][f"NB-{number:04}"]
    second = await synced(ingestor, fake_source)
    assert (second.outcome.deleted, second.warning) == (0, "shrink_guard")
    assert len(await contacts(ingestor)) == 48
    await redeclare(ingestor, CONTACTS, delete_missing=DeleteMissing(id_field="nimbus_id", max_shrink=1))
    assert (await synced(ingestor, fake_source)).outcome.deleted == 25
    assert await contacts(ingestor) == crm(fake_source)


async def test_a_source_that_suddenly_has_no_rows_deletes_none(ingestor: Ingestor, fake_source: FakeSource) -> None:
    await synced(ingestor, fake_source)
    fake_source.add_fault(path="/contacts", null_page=True)
    second = await synced(ingestor, fake_source)
    assert (second.outcome, second.warning) == (Outcome(), "shrink_guard")
    assert len(await contacts(ingestor)) == 48


async def test_a_row_that_is_refused_is_a_failed_row_and_deletes_nothing(
    ingestor: Ingestor, fake_source: FakeSource
) -> None:
    await synced(ingestor, fake_source)
    fake_source.world.put("contacts", "NB-0002", {"email": "no address"})
    second = await synced(ingestor, fake_source)
    assert second.outcome == Outcome(rows_read=48, unchanged=47, failed=1)
    (failed,) = await ingestor.failed_rows(second.job_id)
    assert (failed["line"], failed["errors"][0]["code"]) == (48, "pattern")
    assert msgspec.json.decode(failed["raw"])["nimbus_id"] == "NB-0002"
    assert "NB-0002" in await contacts(ingestor)


async def test_items_come_by_offset_or_by_the_links_of_the_header(ingestor: Ingestor, fake_source: FakeSource) -> None:
    assert (await synced(ingestor, fake_source, "items")).outcome == Outcome(rows_read=250, inserted=250)
    assert fake_source.take_requests() == [f"GET /items?limit=50&offset={offset}" for offset in range(0, 250, 50)]
    await redeclare(ingestor, DATASETS["items"], paginator=HeaderLink(), params={"limit": 100})
    assert (await synced(ingestor, fake_source, "items")).outcome == Outcome(rows_read=250, unchanged=250)
    assert fake_source.take_requests() == ["GET /items?limit=100"] + [
        f"GET /items?offset={n}&limit=100" for n in (100, 200)
    ]


async def test_a_text_is_a_row_and_another_one_the_next_time(ingestor: Ingestor, fake_source: FakeSource) -> None:
    for _ in range(2):
        assert (await synced(ingestor, fake_source, "paragraphs")).outcome == Outcome(rows_read=1, inserted=1)
    rows = await ingestor.rows("paragraphs")
    assert len({row["content"] for row in rows}) == 2
    assert all(45 <= row["content"].count(".") <= 55 and row["created_at"] for row in rows)


@pytest.mark.usefixtures("small")
async def test_pages_become_chunks_whose_rows_are_numbered_through(ingestor: Ingestor, fake_source: FakeSource) -> None:
    fake_source.world.put("contacts", "NB-0048", {"email": "no address"})
    fake_source.world.put("contacts", "NB-0001", {"email": "none either"})
    found = await synced(ingestor, fake_source)
    assert [chunk.outcome.rows_read for chunk in found.loaded] == [20, 20, 8]
    assert [row["line"] for row in await ingestor.failed_rows(found.job_id)] == [47, 48]


async def test_a_source_that_is_broken_for_a_while_is_pulled_later_and_nothing_is_written_before(
    ingestor: Ingestor, fake_source: FakeSource
) -> None:
    fake_source.add_fault(path="/contacts", status=500, times=1)
    fake_source.add_fault(path="/contacts", status=429, retry_after=9, times=1)
    fake_source.add_fault(path="/contacts", garbage=True, times=1)
    pulled = sync(ingestor, fake_source)
    for seconds, code in ((None, "source_unavailable"), (9, "source_unavailable"), (None, "source_unreadable")):
        with pytest.raises(TransientFailure) as caught:
            await pulled.step()
        assert (caught.value.seconds, caught.value.problem.code) == (seconds, code)
        assert await ingestor.pool.fetchval("SELECT count(*) FROM imports") == 0
    assert (await pulled.finish()).outcome.inserted == 48


async def test_what_came_before_a_page_failed_is_kept(ingestor: Ingestor, fake_source: FakeSource) -> None:
    pulled = sync(ingestor, fake_source, "items")
    fake_source.add_fault(path="/items", times=2)
    fake_source.add_fault(path="/items", status=503, times=2)
    await pulled.step()
    assert pulled.outcome.inserted == 100
    with pytest.raises(TransientFailure):
        await pulled.step()
    assert (await pulled.finish()).outcome == Outcome(rows_read=250, inserted=250)
    wanted = Counter(f"GET /items?limit=50&offset={offset}" for offset in (0, 50, 100, 100, 100, 150, 200))
    assert Counter(fake_source.take_requests()) == wanted


@pytest.mark.parametrize(
    ("habit", "code"),
    [
        ({"status": 403}, "source_refused"),
        ({"redirect": "http://169.254.169.254/"}, "source_redirects"),
        ({"redirect": "/items"}, "source_redirects"),
        ({"oversize": True}, "source_too_large"),
    ],
)
async def test_what_will_not_get_better_is_not_tried_again(
    ingestor: Ingestor, fake_source: FakeSource, habit: dict[str, object], code: str
) -> None:
    fake_source.add_fault(path="/contacts", **habit)
    with pytest.raises(PermanentFailure) as caught:
        await synced(ingestor, fake_source)
    assert caught.value.problem.code == code
    assert len(fake_source.take_requests()) == 1


async def test_a_slow_page_is_not_waited_for(ingestor: Ingestor, fake_source: FakeSource) -> None:
    await redeclare(ingestor, CONTACTS, timeout_seconds=0.1)
    fake_source.add_fault(path="/contacts", delay=60)
    with pytest.raises(TransientFailure, match=r"within 0\.1 seconds"):
        await synced(ingestor, fake_source)


@pytest.mark.parametrize(("dataset", "rows"), [("customers", 21), ("contacts", 48), ("items", 250)])
async def test_a_source_without_an_end_is_read_once(
    ingestor: Ingestor, fake_source: FakeSource, dataset: str, rows: int
) -> None:
    if dataset != "contacts":
        paginator = msgspec.structs.replace(DATASETS[dataset].sources[0].paginator, total_path=None)
        await redeclare(ingestor, DATASETS[dataset], paginator=paginator)
    fake_source.add_fault(endless=True)
    found = await synced(ingestor, fake_source, dataset)
    assert (found.outcome, found.warning) == (Outcome(rows_read=rows, inserted=rows), "pagination_loop")
    assert await nothing_is_left(ingestor)


async def test_a_cursor_that_leads_to_itself_ends_the_sync_and_deletes_nothing(
    ingestor: Ingestor, fake_source: FakeSource
) -> None:
    await synced(ingestor, fake_source)
    fake_source.add_fault(path="/contacts", repeat_cursor=True)
    found = await synced(ingestor, fake_source)
    assert (found.outcome, found.warning) == (Outcome(rows_read=40, unchanged=40), "pagination_loop")
    assert len(await contacts(ingestor)) == 48


@pytest.mark.parametrize(
    ("limit", "rows"), [({"max_pages": 2}, 40), ({"max_rows": 25}, 25), ({"max_seconds": 0.000001}, 20)]
)
async def test_hard_stops_end_a_sync_with_a_warning_and_delete_nothing(
    ingestor: Ingestor, fake_source: FakeSource, limit: dict[str, float], rows: int
) -> None:
    await synced(ingestor, fake_source)
    await redeclare(ingestor, CONTACTS, **limit)
    found = await synced(ingestor, fake_source)
    assert (found.outcome, found.warning) == (Outcome(rows_read=rows, unchanged=rows), next(iter(limit)))
    warning = await ingestor.pool.fetchval("SELECT warning FROM imports WHERE job_id = $1", found.job_id)
    assert warning["code"] == found.warning
    assert len(await contacts(ingestor)) == 48


async def test_more_errors_than_allowed_stop_a_sync(ingestor: Ingestor, fake_source: FakeSource) -> None:
    for number in range(1, 4):
        fake_source.world.put("contacts", f"NB-000{number}", {"email": "no address"})
    await redeclare(ingestor, CONTACTS, max_errors=2)
    found = await synced(ingestor, fake_source)
    assert found.stopped.problem.code == "too_many_errors"
    assert await nothing_is_left(ingestor)


@pytest.mark.parametrize("incremental", [CHANGED, ON_THE_WAY])
async def test_an_incremental_source_is_queried_for_changes_since_the_cursor(
    ingestor: Ingestor, fake_source: FakeSource, incremental: Incremental
) -> None:
    await redeclare(ingestor, CONTACTS, incremental=incremental, delete_missing=None)
    assert (await synced(ingestor, fake_source)).outcome.inserted == 48
    assert "updated_since" not in "".join(fake_source.take_requests())
    last = fake_source.world.rows("contacts")[-1]["updated_at"]
    assert await cursor(ingestor) == last
    fake_source.world.put("contacts", "NB-0003", {"notes": "Changed."})
    second = await synced(ingestor, fake_source)
    assert second.outcome == Outcome(rows_read=2, updated=1, unchanged=1)  # the last one of before comes once more
    assert fake_source.take_requests() == [f"GET /contacts?updated_since={last.replace(':', '%3A')}&limit=20"]


async def test_an_initial_value_is_where_an_incremental_source_begins(
    ingestor: Ingestor, fake_source: FakeSource
) -> None:
    since = fake_source.world.rows("contacts")[40]["updated_at"]
    incremental = msgspec.structs.replace(CHANGED, initial_value=since)
    await redeclare(ingestor, CONTACTS, incremental=incremental, delete_missing=None)
    assert (await synced(ingestor, fake_source)).outcome.inserted == 8


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("incremental", "known"), [(CHANGED, False), (ON_THE_WAY, True)])
async def test_a_sync_that_dies_on_the_way_is_taken_up_where_its_rows_are(
    ingestor: Ingestor, fake_source: FakeSource, incremental: Incremental, *, known: bool
) -> None:
    await redeclare(ingestor, CONTACTS, incremental=incremental, delete_missing=None)
    await sync(ingestor, fake_source).step()
    fake_source.take_requests()
    again = await synced(ingestor, fake_source)
    reached = fake_source.world.rows("contacts")[19]["updated_at"]
    request = fake_source.take_requests()[0]
    assert (f"updated_since={reached.replace(':', '%3A')}" in request) == known
    assert again.outcome.inserted == 28
    assert again.outcome.unchanged == (1 if known else 20)
    assert await contacts(ingestor) == crm(fake_source)


@pytest.mark.usefixtures("small")
async def test_an_incremental_sync_that_is_cut_off_counts_only_what_is_known_to_be_complete(
    ingestor: Ingestor, fake_source: FakeSource
) -> None:
    for incremental, position in ((CHANGED, None), (ON_THE_WAY, 19)):
        await redeclare(ingestor, CONTACTS, incremental=incremental, delete_missing=None, max_pages=1)
        assert (await synced(ingestor, fake_source)).warning == "max_pages"
        expected = None if position is None else fake_source.world.rows("contacts")[position]["updated_at"]
        assert await cursor(ingestor) == expected


@pytest.mark.usefixtures("small")
async def test_a_command_that_comes_twice_has_one_effect(ingestor: Ingestor, fake_source: FakeSource) -> None:
    pulled = sync(ingestor, fake_source)
    commands: list[PullPage] = []
    while pulled.next is not None:
        commands.append(pulled.next)
        await pulled.step()
        fake_source.world.put("contacts", "NB-0001", {"notes": f"Changed {len(commands)} times."})
    before = await ingestor.rows("contacts")
    for command in commands:
        assert await pulled.pull(command) == []
    assert await ingestor.rows("contacts") == before
    assert len(pulled.loaded) == await ingestor.pool.fetchval("SELECT count(*) FROM chunks")


@pytest.mark.usefixtures("small")
async def test_a_process_that_dies_before_its_commit_has_done_nothing(
    ingestor: Ingestor, fake_source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulled = sync(ingestor, fake_source)
    await pulled.step()

    async def die(*_: object) -> None:
        raise ConnectionResetError("the process is killed here")

    with monkeypatch.context() as broken:
        broken.setattr(queries, "upsert_pull", die)
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                await pulled.step()
    assert len(await contacts(ingestor)) == 20
    assert await ingestor.pool.fetchval("SELECT count(*) FROM seen") == 20
    found = await pulled.finish()
    assert found.outcome == Outcome(rows_read=48, inserted=48)
    assert found.pulled.chunks == 3


@pytest.mark.usefixtures("small")
async def test_what_a_sync_left_that_was_given_up_is_gone_with_the_next_one(
    ingestor: Ingestor, fake_source: FakeSource
) -> None:
    given_up, beside = sync(ingestor, fake_source), sync(ingestor, fake_source)
    await given_up.step()
    await beside.step()
    assert given_up.next is not None
    await ingestor.give_up(given_up.next)
    await synced(ingestor, fake_source)
    left = await ingestor.pool.fetch("SELECT job_id FROM pulls UNION SELECT job_id FROM seen")
    assert [row["job_id"] for row in left] == [beside.job_id]
    assert (await beside.finish()).outcome.rows_read == 48
    assert await nothing_is_left(ingestor)


async def test_a_source_that_is_not_declared_is_no_source(ingestor: Ingestor, fake_source: FakeSource) -> None:
    for dataset, source in (("contacts", "hubspot"), ("nothing", "crm")):
        with pytest.raises(PermanentFailure) as caught:
            await Sync(ingestor, fake_source.client(), dataset, source).finish()
        assert caught.value.problem.code == "unknown_source"


async def test_no_secret_is_in_a_message_or_a_table(ingestor: Ingestor, fake_source: FakeSource) -> None:
    found = await synced(ingestor, fake_source)
    written = "".join(str(message) for message in found.messages)
    for table in ("imports", "chunks", "pulls", "sources", "datasets", "failed_rows"):
        written += str(await ingestor.pool.fetch(f"SELECT to_jsonb(t) FROM {table} t"))
    assert TOKEN not in written
    wrong = OutboundClient(fake_source.place, {**fake_source.environment, "SECRET_CRM_TOKEN": "another-token"})
    with pytest.raises(PermanentFailure) as caught:
        await Sync(ingestor, wrong, "contacts", "crm").finish()
    assert caught.value.problem.code == "source_refused"
    assert "another-token" not in str(caught.value.problem)
