"""Job progress: monotonic under any order and repetition of events, and with the right end."""

import datetime as dt
import random
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.jobs import progress
from services.gateway.jobs.job import ENDED, Job
from services.gateway.jobs.progress import Tally
from shared.contracts.parts import Outcome, Problem

START = dt.datetime(2021, 11, 7, 2, 48, 42, tzinfo=dt.UTC)
HEADER_BYTES = 20
LOST = Problem(code="gave_up", detail="Nothing helped.")
ORDER = ("queued", "running", *ENDED)


class Chunk(msgspec.Struct, frozen=True):
    """What a chunk is going to tell of itself."""

    bytes: int
    outcome: Outcome


class JobProgress:
    """As the gateway keeps it: sets, so that repeats change nothing."""

    def __init__(self, chunks: list[Chunk]) -> None:
        self.chunks = chunks
        self.marks: dict[str, set[int]] = {"loaded": set(), "indexed": set(), "counted": set()}
        self.job = queued(sum(chunk.bytes for chunk in chunks) + HEADER_BYTES)
        self.now = START

    @property
    def tally(self) -> Tally:
        loaded = [self.chunks[number] for number in self.marks["loaded"]]
        words = Outcome.__struct_fields__
        return Tally(
            loaded=len(loaded),
            indexed=len(self.marks["indexed"]),
            counted=len(self.marks["counted"]),
            bytes=sum(chunk.bytes for chunk in loaded),
            outcome=Outcome(**{word: sum(getattr(chunk.outcome, word) for chunk in loaded) for word in words}),
        )

    def hear(self, event: tuple[str, int]) -> Job:
        word, number = event
        self.now += dt.timedelta(seconds=1)
        if word == "failure":
            self.job = progress.fail(self.job, LOST, self.now)
            return self.job
        if word == "planned":
            planned = sum(chunk.bytes for chunk in self.chunks)
            known = msgspec.structs.replace(self.job, chunks=len(self.chunks), bytes_planned=planned)
            self.job = known if not self.job.ended else self.job
        else:
            self.marks[word].add(number)
        self.job = progress.advance(self.job, self.tally, self.now)
        return self.job


def queued(bytes_total: int) -> Job:
    """As it is accepted."""
    return Job(
        id=UUID(int=1),
        kind="import",
        dataset="departments",
        mode="upsert",
        source=None,
        replay_of=None,
        status="queued",
        phase="plan",
        version=None,
        bytes_total=bytes_total,
        bytes_planned=None,
        bytes_done=0,
        chunks=None,
        percent=0.0,
        outcome=Outcome(),
        error=None,
        warning=None,
        sequence=1,
        created_at=START,
        started_at=None,
        finished_at=None,
        deadline_at=START + dt.timedelta(days=1),
        announced_at=START,
    )


def events(chunks: list[Chunk]) -> list[tuple[str, int]]:
    """Everything that will be heard of an import in which nothing fails."""
    words = ("loaded", "indexed", "counted")
    return [("planned", 0), *((word, number) for number in range(len(chunks)) for word in words)]


def expected(chunks: list[Chunk]) -> str:
    failed = sum(chunk.outcome.failed for chunk in chunks)
    read = sum(chunk.outcome.rows_read for chunk in chunks)
    if failed:
        return "failed" if failed == read else "partial"
    return "succeeded"


@st.composite
def outcomes(draw: st.DrawFn) -> Outcome:
    counts = {word: draw(st.integers(0, 3)) for word in Outcome.__struct_fields__ if word != "rows_read"}
    if draw(st.booleans()):
        counts["failed"] = 0
    return Outcome(rows_read=sum(counts.values()) - counts["deleted"], **counts)


chunk_lists = st.lists(st.builds(Chunk, st.integers(1, 1000), outcomes()), max_size=5)
chances = st.randoms(use_true_random=False)


def shuffled(chunks: list[Chunk], chance: random.Random) -> list[tuple[str, int]]:
    """Every event at least once, some again, in any order."""
    deliveries = events(chunks)
    deliveries += chance.choices(deliveries, k=chance.randint(0, len(deliveries)))
    chance.shuffle(deliveries)
    return deliveries


@given(chunks=chunk_lists, chance=chances)
def test_any_order_and_repetition_of_the_events_ends_in_the_same_state(
    chunks: list[Chunk], chance: random.Random
) -> None:
    heard = JobProgress(chunks)
    for event in shuffled(chunks, chance):
        heard.hear(event)
    job = heard.job
    assert job.status == expected(chunks)
    assert (job.phase, job.percent, job.bytes_done) == ("done", 100.0, job.bytes_total)
    assert job.outcome == heard.tally.outcome
    assert job.outcome.balanced()
    assert job.finished_at is not None
    assert (job.error is None) == (job.status != "failed")


@given(chunks=chunk_lists, chance=chances)
def test_a_job_ends_with_the_last_event_that_is_new_and_not_before(chunks: list[Chunk], chance: random.Random) -> None:
    heard, missing = JobProgress(chunks), set(events(chunks))
    for event in shuffled(chunks, chance):
        missing.discard(event)
        assert heard.hear(event).ended == (not missing)


@given(chunks=chunk_lists, chance=chances, fails=st.booleans())
def test_nothing_ever_goes_back(chunks: list[Chunk], chance: random.Random, fails: bool) -> None:  # noqa: FBT001
    heard, deliveries = JobProgress(chunks), shuffled(chunks, chance)
    if fails:
        deliveries.insert(chance.randint(0, len(deliveries)), ("failure", 0))
    before = heard.job
    for event in deliveries:
        job = heard.hear(event)
        assert job.percent >= before.percent
        assert job.bytes_done >= before.bytes_done
        assert job.outcome.rows_read >= before.outcome.rows_read
        assert ORDER.index(job.status) >= ORDER.index(before.status)
        assert job.started_at is not None
        assert before.started_at in (None, job.started_at)
        before = job


@given(chunks=chunk_lists, chance=chances, fails=st.booleans())
def test_a_job_that_has_ended_never_moves(chunks: list[Chunk], chance: random.Random, fails: bool) -> None:  # noqa: FBT001
    heard = JobProgress(chunks)
    deliveries = [*shuffled(chunks, chance), ("failure", 0)]
    if fails:
        chance.shuffle(deliveries)
    end = None
    for event in [*deliveries, *deliveries]:
        job = heard.hear(event)
        assert end is None or job == end
        end = job if job.ended else None
    assert end is not None


@given(chunks=chunk_lists, chance=chances)
def test_only_a_job_that_is_complete_shows_a_hundred_percent(chunks: list[Chunk], chance: random.Random) -> None:
    heard, missing = JobProgress(chunks), set(events(chunks))
    for event in shuffled(chunks, chance):
        missing.discard(event)
        job = heard.hear(event)
        assert (job.percent == 100) == (not missing)
        assert 0 <= job.percent <= 100


@given(chunks=chunk_lists.filter(bool), chance=chances)
def test_a_failure_ends_a_job_with_its_problem_and_what_comes_later_changes_nothing(
    chunks: list[Chunk], chance: random.Random
) -> None:
    heard, deliveries = JobProgress(chunks), events(chunks)
    chance.shuffle(deliveries)
    some = chance.randint(0, len(deliveries) - 1)
    for event in deliveries[:some]:
        heard.hear(event)
    failed = heard.hear(("failure", 0))
    assert (failed.status, failed.error, failed.finished_at) == ("failed", LOST, heard.now)
    for event in deliveries[some:]:
        assert heard.hear(event) == failed


@pytest.mark.parametrize(
    "wrong",
    [
        Tally(loaded=1, indexed=1, counted=1, bytes=10, outcome=Outcome(rows_read=2, inserted=1)),
        Tally(loaded=1, indexed=1, counted=1, bytes=9, outcome=Outcome(rows_read=1, inserted=1)),
        Tally(loaded=2, indexed=1, counted=1, bytes=10, outcome=Outcome(rows_read=1, inserted=1)),
    ],
    ids=["a row without a fate", "a byte that nobody loaded", "a chunk that was never planned"],
)
def test_counts_that_do_not_add_up_fail_the_job(wrong: Tally) -> None:
    planned = msgspec.structs.replace(queued(10), chunks=1, bytes_planned=10)
    job = progress.advance(planned, wrong, START)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code == "accounting"


def test_a_file_without_rows_succeeds_as_soon_as_it_is_planned() -> None:
    planned = msgspec.structs.replace(queued(HEADER_BYTES), chunks=0, bytes_planned=0)
    job = progress.advance(planned, Tally(), START)
    assert (job.status, job.percent, job.bytes_done) == ("succeeded", 100.0, HEADER_BYTES)


def test_the_percentage_does_not_fall_when_less_is_counted_than_before() -> None:
    planned = msgspec.structs.replace(queued(10), chunks=2, bytes_planned=10, percent=50.0)
    assert progress.advance(planned, Tally(loaded=1, bytes=1), START).percent == 50.0


def test_a_search_ends_with_its_answer_and_only_once() -> None:
    search = msgspec.structs.replace(queued(0), kind="search", mode=None, phase="search")
    now = START + dt.timedelta(seconds=1)
    ended = progress.succeed(search, 7, now)
    assert (ended.status, ended.phase, ended.version, ended.percent) == ("succeeded", "done", 7, 100.0)
    assert (ended.started_at, ended.finished_at, ended.outcome) == (now, now, Outcome())
    failed = progress.fail(search, LOST, now)
    assert progress.succeed(ended, 8, now) is ended
    assert progress.succeed(failed, 8, now) is failed


def test_the_version_is_that_of_the_last_chunk_that_is_loaded() -> None:
    assert progress.advance(queued(10), Tally(), START).version is None
    assert progress.advance(queued(10), Tally(loaded=2, bytes=5, version=9), START).version == 9
