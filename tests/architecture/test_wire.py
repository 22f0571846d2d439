"""The wire format: a recorded example of every message, which old and new services must read.

When a test here fails, either the change breaks services that still run the old code (make it another way: add a field
with a default), or there is a new message: print its body with `python -m tests.architecture.test_wire` and add it.
"""

import datetime as dt
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

import services.gateway.app  # noqa: F401 - its features register the kinds of job
from services.gateway.jobs.kinds import to_body
from shared.bus.outbox import OutboxMessage
from shared.bus.publisher import encode
from shared.contracts import commands, dead_letter_events, envelope, events
from shared.contracts.message import Command, Event, Message
from shared.contracts.parts import Dialect, LoadOptions, Outcome, Problem
from tests.unit.test_progress import queued

GOLDEN = Path(__file__).with_name("wire.json")
AT = dt.datetime(2021, 11, 7, 2, 48, 42, 123456, tzinfo=dt.UTC)
JOB = UUID("01900000-0000-7000-8000-000000000001")
ABOUT: dict[str, Any] = {"dataset": "hired_employees", "job_id": JOB}
OUTCOME = Outcome(rows_read=21, inserted=5, updated=4, unchanged=3, duplicates=2, failed=1, checked=6, deleted=7)
TERMS = LoadOptions(
    mode="replace",
    validate_only=True,
    check_references=True,
    max_errors=5,
    max_error_rate=0.1,
    max_failed_rows=10,
    max_shrink=0.2,
    strict=True,
)
FILTER: dict[str, Any] = {"code": "type", "column": "name"}
PROBLEM = Problem(code="gave_up", detail="TimeoutError: it took too long", hint="Try again.")
BODY: dict[str, Any] = msgspec.to_builtins(to_body(queued(1000), AT))
PUBLIC: dict[str, Any] = {**ABOUT, "sequence": 2, "run": 2, "job": BODY}
EXAMPLES: list[Message] = [
    commands.PlanImport(
        **ABOUT,
        file=str(JOB),
        sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        bytes_total=1000,
        dialect=Dialect(columns=("id", "name"), header=True, delimiter=";", quote="'", format="ndjson"),
        load_options=TERMS,
    ),
    commands.LoadChunk(**ABOUT, chunk=2, start=100, end=1000, line=11, overlong=True),
    commands.SwapStage(**ABOUT, chunk=3),
    commands.LoadRows(**ABOUT, rows=(msgspec.Raw(b'{"id":15}'),), columns=("id",), load_options=TERMS),
    commands.PullPage(**ABOUT, source="crm", chunk=2, at={"page": 3}),
    commands.PlanReplay(**ABOUT, replay_of=UUID(int=7), load_options=TERMS, **FILTER),
    commands.PlanDetach(**ABOUT, year=2021),
    commands.DetachPartition(**ABOUT, chunk=1, year=2021),
    commands.DiscardRows(dataset="hired_employees", request_id=UUID(int=6), failed_in=JOB, **FILTER),
    commands.DeclareDataset(dataset="hired_employees", follows=2, digest="9f86d0", declaration={"title": "Hired"}),
    commands.DefineWords(dataset="hired_employees", version=5, moment=327),
    commands.BuildIndex(dataset="items", request_id=UUID(int=7), job_id=JOB),
    commands.IndexPiece(dataset="items", generation=2, first=1, job_id=JOB),
    commands.SwitchIndex(dataset="items", generation=2, job_id=JOB),
    commands.RunSearch(**ABOUT, query={"q": "ada", "limit": 10}, min_version=5),
    commands.RefreshReport(**ABOUT, report="hires_by_quarter", datasets=("hired_employees", "jobs"), round=2),
    commands.RebuildRollup(**ABOUT, rollup="hires"),
    events.DatasetDeclared(dataset="hired_employees", revision=3),
    events.ImportPlanned(**ABOUT, chunks=2, bytes=990, warning=PROBLEM),
    events.ImportRejected(**ABOUT, problem=PROBLEM),
    events.ImportStopped(**ABOUT, problem=PROBLEM, outcome=OUTCOME),
    events.SourcePulled(**ABOUT, chunks=3, bytes=990, warning=PROBLEM),
    events.ChunkLoaded(**ABOUT, chunk=2, ledger=7, version=5, bytes=900, outcome=OUTCOME),
    events.ChunkIndexed(**ABOUT, chunk=2, documents=9),
    events.ChunkCounted(**ABOUT, chunk=2, groups=4),
    events.SearchCompleted(**ABOUT, hits=10, total=21, version=5),
    events.ReportRefreshed(
        **ABOUT, report="hires_by_quarter", round=2, versions={"hired_employees": 5, "jobs": 2}, chunks=3
    ),
    events.RollupRebuilt(**ABOUT, rollup="hires", version=5, groups=21, mended=1),
    events.IndexRebuilt(**ABOUT, generation=2, version=5),
    events.WorkFailed(**ABOUT, message_id=UUID(int=5), message="load_chunk", problem=PROBLEM),
    dead_letter_events.RedriveRequested(dataset="", request_id=UUID(int=6), ids=(UUID(int=5),), service="indexer"),
    dead_letter_events.DiscardRequested(dataset="", request_id=UUID(int=6), ids=(UUID(int=5),), service="indexer"),
    events.JobCreated(**PUBLIC),
    events.JobStarted(**PUBLIC),
    events.JobProgress(**PUBLIC),
    events.JobSucceeded(**PUBLIC),
    events.JobPartial(**PUBLIC),
    events.JobFailed(**PUBLIC),
    events.JobCanceled(**PUBLIC),
    events.JobRetried(**PUBLIC),
]
ADDED = {"redriven", "readers"}
"""Fields whose default is left out, so that ids are those of messages without the field."""
each_message = pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)


def body(message: Message) -> bytes:
    """As the publisher writes it."""
    letter = OutboxMessage(
        id=message.id,
        queue="",
        name=message.name(),
        dataset=message.dataset,
        subject=str(getattr(message, "job_id", "")),
        command=isinstance(message, Command),
        mandatory=bool(message.receivers),
        attempt=1,
        data=message.encode(),
        created_at=AT,
        sent_at=AT,
    )
    return encode(letter, "tests")


def golden() -> dict[str, bytes]:
    """The recorded bodies: in the file they are indented, on the wire they have no spaces."""
    recorded = msgspec.json.decode(GOLDEN.read_bytes(), type=dict[str, msgspec.Raw])
    return {name: msgspec.json.format(text, indent=-1) for name, text in recorded.items()}


def messages(kind: type[Message] = Message) -> set[str]:
    """Names of the contracts' messages, without their base classes."""
    below = [one for one in kind.__subclasses__() if one.__module__.startswith("shared.contracts.")]
    found = set[str]().union(*map(messages, below))
    return found or ({kind.__name__} if kind not in (Message, Command, Event) else set())


def test_every_message_has_an_example_and_a_recorded_body() -> None:
    assert {type(message).__name__ for message in EXAMPLES} == messages()
    assert set(golden()) == messages()


def test_a_message_that_is_new_is_found() -> None:
    assert {"LoadChunk", "JobFailed"} <= messages()
    assert not {"Message", "Command", "Event", "JobEvent"} & messages()


@each_message
def test_a_message_is_written_as_it_was_recorded(message: Message) -> None:
    assert body(message) == golden()[type(message).__name__]


@each_message
def test_what_was_recorded_is_read_as_the_same_message(message: Message) -> None:
    letter = envelope.decode(golden()[type(message).__name__])
    assert type(message).decode(letter.data).encode() == message.encode()
    assert (letter.id, letter.type, letter.dataset) == (message.id, message.name(), message.dataset)
    assert (letter.specversion, letter.attempt, letter.time) == ("1.0", 1, AT)


@each_message
def test_a_message_with_a_field_of_tomorrow_can_be_read_today(message: Message) -> None:
    recorded = msgspec.json.decode(golden()[type(message).__name__])
    recorded["data"]["tomorrow"] = {"more": 1}
    recorded["tomorrow"] = "more"
    letter = envelope.decode(msgspec.json.encode(recorded))
    assert type(message).decode(letter.data).encode() == message.encode()


@each_message
def test_every_field_is_in_the_recorded_body(message: Message) -> None:
    recorded = msgspec.json.decode(golden()[type(message).__name__])["data"]
    assert set(recorded) | ADDED == set(message.__struct_encode_fields__) | ADDED


@each_message
def test_an_id_follows_from_the_identity_and_from_nothing_else(message: Message) -> None:
    kind = type(message)
    recorded = msgspec.json.decode(golden()[kind.__name__])["data"]
    assert kind.decode(msgspec.json.encode(recorded)).id == message.id
    ids = ("job_id", "message_id", "replay_of", "request_id", "failed_in")
    other = {"dataset": "jobs", **dict.fromkeys(ids, str(UUID(int=9)))}
    for field in recorded:
        changed = recorded | {field: other.get(field, _other(recorded[field]))}
        same = kind.decode(msgspec.json.encode(changed)).id == message.id
        assert same == (field not in kind.identity), field


def test_a_chunk_names_the_services_that_read_its_rows() -> None:
    old = events.ChunkLoaded.decode(msgspec.json.decode(golden()["ChunkLoaded"], type=dict[str, msgspec.Raw])["data"])
    assert (old.readers, old.to) == (None, old.receivers)
    expected = {
        (): ("gateway",),
        ("indexer",): ("gateway", "indexer"),
        ("analytics", "indexer"): ("gateway", "indexer", "analytics"),
    }
    for readers, to in expected.items():
        event = events.ChunkLoaded.decode(msgspec.structs.replace(old, readers=readers).encode())
        assert (event.readers, event.to, event.id) == (readers, to, old.id)


@each_message
def test_a_message_works_out_its_id_once(message: Message) -> None:
    assert message.id is message.id
    assert message == type(message).decode(message.encode())


def test_no_two_messages_share_an_id_or_a_name() -> None:
    assert len({message.id for message in EXAMPLES}) == len(EXAMPLES)
    assert len({message.name() for message in EXAMPLES}) == len(EXAMPLES)


def _other(value: Any) -> Any:
    """Of the same type."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return value + "x"
        case list():
            return value * 2
    parts = [(name, part) for name, part in value.items() if isinstance(part, str | int)]
    name, part = min(parts, key=lambda one: isinstance(one[1], str))  # a text may be one of a few
    return {**value, name: _other(part)}


if __name__ == "__main__":
    bodies = {type(message).__name__: msgspec.Raw(body(message)) for message in EXAMPLES}
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(bodies), indent=2).decode() + "\n")
