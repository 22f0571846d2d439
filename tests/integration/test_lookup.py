"""Dictionary lookups: once a day, a few at a time; a failing dictionary fails nothing else."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import asyncpg
import pytest

from sandbox.world import WORDS
from services.indexer.words import lookup
from services.indexer.words.dictionary_api import MAX_WORD_LENGTH
from services.indexer.words.queries import BACKOFF_SECONDS, MAX_BACKOFF_SECONDS
from shared.bus import inbox
from shared.contracts.commands import DefineWords
from shared.outgoing.http_client import OutboundClient
from shared.reads.ingestor.datasets import select_with_dictionary
from tests.fake_source import FakeSource
from tests.integration.ingestor_runner import Ingestor
from tests.integration.reader_runners import Indexer

URL = "${SOURCE_DICTIONARY}/entries/{word}"
KNOWN = ("bright", "careful", "distant", "early", "gentle", "heavy", "narrow", "patient", "quiet", "silver")
UNKNOWN = "qwxz"
FAST = 1000.0


@pytest.fixture
async def fast(ingestor: Ingestor) -> None:
    """The paragraphs' dictionary has no rate limit."""
    await redeclare(ingestor, requests_per_second=FAST)


async def redeclare(ingestor: Ingestor, **changes: Any) -> None:
    await ingestor.pool.execute(
        "UPDATE datasets SET declaration = jsonb_set(declaration::jsonb, '{dictionary}',"
        " (declaration->'dictionary')::jsonb || $1::jsonb) WHERE name = 'paragraphs'",
        changes,
    )


async def bring(ingestor: Ingestor, indexer: Indexer, *words: str) -> None:
    """A paragraph of these words, which are counted."""
    (event,) = await ingestor.load_all(await ingestor.plan("paragraphs", f"{' '.join(words)},\n", chunk_bytes=10_000))
    assert event.outcome.inserted == 1
    await indexer.index(event)
    await indexer.count("paragraphs")


async def define(indexer: Indexer, outgoing: OutboundClient, moment: int = 1) -> list[DefineWords]:
    """One delivery of the command."""
    command = DefineWords(dataset="paragraphs", version=1, moment=moment)
    async with indexer.pool.acquire() as db, db.transaction():
        assert await inbox.claim(db, command.id, command.name())
        messages = await lookup.define_words(command, db, outgoing)
    return [messages] if messages else []


async def kept(indexer: Indexer) -> dict[str, asyncpg.Record]:
    rows = await indexer.pool.fetch("SELECT *, expires_at - now() AS fresh FROM definitions WHERE dictionary = $1", URL)
    return {row["word"]: row for row in rows}


async def pause(indexer: Indexer) -> tuple[int, float, str] | None:
    """Failures in a row, seconds until the next request, and why."""
    row = await indexer.pool.fetchrow(
        "SELECT failures, extract(epoch FROM retry_at - now())::float8, problem->>'code' FROM dictionaries"
    )
    return tuple(row) if row else None


async def pass_a_day(indexer: Indexer) -> None:
    """For what is kept; pauses are over as well."""
    await indexer.pool.execute(
        "UPDATE definitions SET fetched_at = fetched_at - interval '1 day', expires_at = expires_at - interval '1 day'"
    )
    await indexer.pool.execute("UPDATE dictionaries SET retry_at = retry_at - interval '1 day'")


def about(words: Iterable[str]) -> list[str]:
    """The requests for these words."""
    return sorted(f"GET /entries/{word}" for word in words)


@pytest.mark.usefixtures("fast")
async def test_what_the_dictionary_says_is_kept_for_a_day(
    ingestor: Ingestor, indexer: Indexer, fake_source: FakeSource
) -> None:
    await bring(ingestor, indexer, "Heavy", "the", "the", UNKNOWN)
    assert await define(indexer, fake_source.client()) == []
    assert sorted(fake_source.take_requests()) == about(["heavy", "the", UNKNOWN])
    found = await kept(indexer)
    assert (found["heavy"]["state"], found["heavy"]["phonetic"]) == ("found", WORDS["adjective"]["heavy"][0])
    assert found["heavy"]["meanings"] == [{"part_of_speech": "adjective", "definition": "Of great weight."}]
    assert (found[UNKNOWN]["state"], found[UNKNOWN]["phonetic"], found[UNKNOWN]["meanings"]) == ("unknown", None, None)
    assert {86_000 < row["fresh"].total_seconds() <= 86_400 for row in found.values()} == {True}
    assert await define(indexer, fake_source.client(), 2) == []
    assert fake_source.take_requests() == []
    await pass_a_day(indexer)
    assert await define(indexer, fake_source.client(), 3) == []
    assert sorted(fake_source.take_requests()) == about(["heavy", "the", UNKNOWN])
    assert {row["fresh"].total_seconds() > 86_000 for row in (await kept(indexer)).values()} == {True}


@pytest.mark.usefixtures("fast")
async def test_only_new_words_are_looked_up(ingestor: Ingestor, indexer: Indexer, fake_source: FakeSource) -> None:
    await bring(ingestor, indexer, "bright")
    await define(indexer, fake_source.client())
    fake_source.take_requests()
    await bring(ingestor, indexer, "bright", "heavy")
    await define(indexer, fake_source.client(), 2)
    assert fake_source.take_requests() == about(["heavy"])


@pytest.mark.usefixtures("fast")
async def test_the_most_frequent_words_are_looked_up_with_stop_words_and_without(
    ingestor: Ingestor, indexer: Indexer, fake_source: FakeSource
) -> None:
    await redeclare(ingestor, words=2)
    await bring(ingestor, indexer, *["the"] * 4, *["of"] * 3, *["bright"] * 2, *["heavy"] * 2, "narrow")
    await define(indexer, fake_source.client())
    assert sorted(fake_source.take_requests()) == about(["bright", "heavy", "of", "the"])


@pytest.mark.usefixtures("fast")
async def test_what_stands_in_no_dictionary_is_not_looked_up(
    ingestor: Ingestor, indexer: Indexer, fake_source: FakeSource
) -> None:
    long = "x" * (MAX_WORD_LENGTH + 1)
    await bring(ingestor, indexer, "1842", long)
    await define(indexer, fake_source.client())
    assert fake_source.take_requests() == []
    assert {word: row["state"] for word, row in (await kept(indexer)).items()} == {"1842": "unknown", long: "unknown"}


@pytest.mark.usefixtures("fast")
async def test_at_most_four_words_are_looked_up_at_once(
    ingestor: Ingestor, indexer: Indexer, fake_source: FakeSource
) -> None:
    await bring(ingestor, indexer, *KNOWN, UNKNOWN)
    fake_source.add_fault(path="/entries", delay=0.1)
    messages = await asyncio.gather(*(define(indexer, fake_source.client(), moment) for moment in range(3)))
    assert messages == [[], [], []]
    assert sorted(fake_source.take_requests()) == about([*KNOWN, UNKNOWN])
    assert fake_source.world.max_concurrent == 4


async def test_the_declared_rate_is_kept(ingestor: Ingestor, indexer: Indexer, fake_source: FakeSource) -> None:
    await redeclare(ingestor, requests_per_second=20)
    await bring(ingestor, indexer, *KNOWN)
    began = time.monotonic()
    await define(indexer, fake_source.client())
    assert time.monotonic() - began >= (len(KNOWN) - 1) / 20
    assert len(await kept(indexer)) == len(KNOWN)


@pytest.mark.usefixtures("fast")
async def test_what_takes_too_long_goes_on_in_the_next_message(
    ingestor: Ingestor, indexer: Indexer, fake_source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "BATCH_SECONDS", 0.0)
    await bring(ingestor, indexer, *KNOWN)
    sizes = []
    messages = await define(indexer, fake_source.client())
    while messages:
        sizes.append(len(await kept(indexer)))
        messages = await define(indexer, fake_source.client(), messages[0].moment)
    assert sizes == [4, 8]
    assert {row["state"] for row in (await kept(indexer)).values()} == {"found"}
    assert sorted(fake_source.take_requests()) == about(KNOWN)


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize(
    "habit", [{"status": 500}, {"status": 401}, {"garbage": True}, {"redirect": "http://10.0.0.1/"}]
)
async def test_a_dictionary_that_is_away_gets_four_requests_and_is_then_left_in_peace(
    ingestor: Ingestor, indexer: Indexer, fake_source: FakeSource, habit: dict[str, Any]
) -> None:
    await bring(ingestor, indexer, *KNOWN)
    fake_source.add_fault(path="/entries", **habit)
    waits = []
    for moment in range(6):
        await bring(ingestor, indexer, f"more{'x' * moment}", f"{moment}")  # numbers are not looked up
        assert await define(indexer, fake_source.client(), 2 * moment) == []
        assert len(fake_source.take_requests()) == 4
        assert await define(indexer, fake_source.client(), 2 * moment + 1) == []
        assert fake_source.take_requests() == []
        found = await pause(indexer)
        assert found is not None
        assert found[0] == moment + 1
        waits.append(found[1])
        await indexer.pool.execute("UPDATE dictionaries SET retry_at = now()")
    assert waits == pytest.approx([60, 120, 240, 480, 900, 900], abs=5)
    assert (waits[0], waits[-1]) == pytest.approx((BACKOFF_SECONDS, MAX_BACKOFF_SECONDS), abs=5)
    assert {row["state"] for word, row in (await kept(indexer)).items() if word.isdecimal()} == {"unknown"}
    assert len(await kept(indexer)) == 6
    fake_source.clear_faults()
    await define(indexer, fake_source.client(), 100)
    assert (len(await kept(indexer)), await pause(indexer)) == (len(KNOWN) + 6 + 6, None)


@pytest.mark.usefixtures("fast")
async def test_a_dictionary_with_retry_after_is_queried_again_then(
    ingestor: Ingestor, indexer: Indexer, fake_source: FakeSource
) -> None:
    await bring(ingestor, indexer, *KNOWN)
    fake_source.add_fault(path="/entries/quiet", status=429, retry_after=5000)
    await define(indexer, fake_source.client())
    found = await pause(indexer)
    assert found is not None
    assert (found[0], found[2]) == (1, "source_unavailable")
    assert 4900 < found[1] <= 5000
    requests = len(fake_source.take_requests())
    assert 0 < len(await kept(indexer)) == requests - 1  # what was answered until then is not lost
    await define(indexer, fake_source.client(), 2)
    assert fake_source.take_requests() == []


@pytest.mark.usefixtures("fast")
async def test_an_entry_stands_as_long_as_there_is_no_newer_one(
    ingestor: Ingestor, indexer: Indexer, fake_source: FakeSource
) -> None:
    await bring(ingestor, indexer, *KNOWN)
    await define(indexer, fake_source.client())
    await pass_a_day(indexer)
    before = await kept(indexer)
    fake_source.add_fault(path="/entries", status=503)
    await define(indexer, fake_source.client(), 2)
    after = await kept(indexer)
    for word in KNOWN:
        assert [after[word][name] for name in ("state", "meanings", "fetched_at", "failures")] == [
            "found",
            before[word]["meanings"],
            before[word]["fetched_at"],
            0,
        ]


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("habit", [{"status": 500}, {"garbage": True}, {"oversize": True}])
async def test_one_bad_word_does_not_keep_the_others_waiting(
    ingestor: Ingestor, indexer: Indexer, fake_source: FakeSource, habit: dict[str, Any]
) -> None:
    await bring(ingestor, indexer, *KNOWN)
    fake_source.add_fault(path="/entries/quiet", **habit)
    assert await define(indexer, fake_source.client()) == []
    found = await kept(indexer)
    assert {row["state"] for word, row in found.items() if word != "quiet"} == {"found"}
    assert (len(found), await pause(indexer)) == (len(KNOWN), None)
    assert (found["quiet"]["state"], found["quiet"]["failures"]) == ("unavailable", 1)
    assert found["quiet"]["fresh"].total_seconds() == pytest.approx(BACKOFF_SECONDS, abs=5)
    await pass_a_day(indexer)
    await define(indexer, fake_source.client(), 2)
    again = (await kept(indexer))["quiet"]
    assert (again["state"], again["failures"]) == ("unavailable", 2)
    assert again["fresh"].total_seconds() == pytest.approx(2 * BACKOFF_SECONDS, abs=5)
    fake_source.clear_faults()
    await pass_a_day(indexer)
    await define(indexer, fake_source.client(), 3)
    assert [(await kept(indexer))["quiet"][name] for name in ("state", "failures")] == ["found", 0]


@pytest.mark.usefixtures("fast")
async def test_a_host_that_is_not_allowed_gets_no_request(
    ingestor: Ingestor, indexer: Indexer, fake_source: FakeSource
) -> None:
    await bring(ingestor, indexer, *KNOWN)
    await define(indexer, OutboundClient("", fake_source.environment))
    assert fake_source.take_requests() == []
    found = await pause(indexer)
    assert found is not None
    assert found[2] == "source_forbidden"
    await indexer.pool.execute("UPDATE dictionaries SET retry_at = now()")
    await define(indexer, OutboundClient("", {}), 2)
    found = await pause(indexer)
    assert found is not None
    assert (found[0], found[2]) == (2, "source_unset")


@pytest.mark.usefixtures("fast")
async def test_missing_entries_are_looked_up_without_a_request(
    ingestor: Ingestor, indexer: Indexer, fake_source: FakeSource
) -> None:
    async def looked() -> list[str]:
        """Messages that were written down."""
        count = await lookup.run(indexer.pool)
        names = [row["name"] for row in await indexer.pool.fetch("DELETE FROM outbox RETURNING name")]
        assert len(names) == count
        return names

    assert await looked() == []  # there is not a word
    await bring(ingestor, indexer, *KNOWN)
    assert await looked() == ["define_words"]
    await define(indexer, fake_source.client())
    assert await looked() == []
    await pass_a_day(indexer)
    assert await looked() == ["define_words"]
    fake_source.add_fault(path="/entries", status=500)
    await define(indexer, fake_source.client(), 2)
    assert await looked() == []  # it is left in peace
    await indexer.pool.execute("UPDATE dictionaries SET retry_at = now()")
    assert await looked() == ["define_words"]


@pytest.mark.usefixtures("fast")
async def test_a_dataset_that_cannot_be_looked_after_does_not_keep_the_others_waiting(
    ingestor: Ingestor, indexer: Indexer
) -> None:
    await bring(ingestor, indexer, *KNOWN)
    await ingestor.pool.execute(
        'INSERT INTO datasets SELECT (jsonb_populate_record(d, \'{"name": "broken"}\')).* FROM datasets d'
        " WHERE name = 'paragraphs'"
    )
    await ingestor.pool.execute(
        "UPDATE datasets SET declaration = jsonb_set(declaration::jsonb, '{name}', '\"broken\"') WHERE name = 'broken'"
    )
    await indexer.pool.execute(  # the tables of which are not there
        "INSERT INTO indexes (dataset, search, state) SELECT 'broken', search, state FROM indexes"
        " WHERE dataset = 'paragraphs'"
    )
    assert await lookup.run(indexer.pool) == 1


async def test_a_dataset_without_a_dictionary_asks_nobody(
    ingestor: Ingestor, indexer: Indexer, fake_source: FakeSource
) -> None:
    await ingestor.pool.execute("UPDATE datasets SET declaration = declaration::jsonb - 'dictionary'")
    await bring(ingestor, indexer, *KNOWN)
    assert await define(indexer, fake_source.client()) == []
    async with indexer.pool.acquire() as db:
        assert await select_with_dictionary(db) == []
    assert fake_source.take_requests() == []
