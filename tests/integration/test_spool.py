"""The spool: a file is there complete and with its checksum, or not at all."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import spool as spools
from shared.spool import Spool, StoredFile, TooLarge

ANY_LIMIT = 1 << 30
QUICKLY = settings(
    max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class CutOff(Exception):
    """The client is gone."""


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool((tmp_path / "spool").as_uri())


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes are already more than is gathered at a time."""
    monkeypatch.setattr(spools, "PIECE_BYTES", 16)


async def pieces(data: bytes, sizes: list[int], *, cut_at: int | None = None) -> AsyncIterator[bytes]:
    """The data in pieces of these sizes, over and over; the client goes after `cut_at` bytes."""
    sent, turn = 0, 0
    while sent < len(data):
        if cut_at is not None and sent >= cut_at:
            raise CutOff
        size = sizes[turn % len(sizes)]
        if cut_at is not None:
            size = min(size, cut_at - sent)
        yield data[sent : sent + size]
        sent, turn = sent + size, turn + 1
    if cut_at is not None:
        raise CutOff


def names(spool: Spool) -> list[str]:
    return [name for name, _ in spool.files()]


@QUICKLY
@given(data=st.binary(max_size=200), sizes=st.lists(st.integers(1, 70), min_size=1, max_size=5))
@pytest.mark.usefixtures("small_pieces")
async def test_what_is_stored_is_what_came_with_its_size_and_sum(spool: Spool, data: bytes, sizes: list[int]) -> None:
    stored = await spool.store("a", pieces(data, sizes), limit=ANY_LIMIT)
    assert stored.file == "a"
    assert stored.bytes_total == len(data)
    assert stored.sha256 == hashlib.sha256(data).hexdigest()
    assert spool.read("a", 0, len(data)) == data
    assert names(spool) == ["a"]
    spool.delete("a")


@pytest.mark.usefixtures("small_pieces")
async def test_an_upload_that_is_cut_off_at_any_byte_leaves_no_file(spool: Spool) -> None:
    data = bytes(range(80))
    for cut_at in range(len(data) + 1):
        with pytest.raises(CutOff):
            await spool.store("a", pieces(data, [7, 20], cut_at=cut_at), limit=ANY_LIMIT)
        assert names(spool) == [], f"cut at {cut_at}"


@pytest.mark.usefixtures("small_pieces")
async def test_an_upload_that_is_cancelled_leaves_no_file(spool: Spool) -> None:
    half_way = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(100)
            half_way.set()
            await asyncio.sleep(0)

    storing = asyncio.create_task(spool.store("a", endless(), limit=ANY_LIMIT))
    await half_way.wait()
    assert names(spool) == ["a.part"]  # seen under its own name only when it is whole
    storing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await storing
    assert names(spool) == []


class Held:
    """Something that happens in a thread, held back until it is let go."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun = asyncio.Event()
        self._go = threading.Event()

    def hold(self) -> None:
        self._loop.call_soon_threadsafe(self._begun.set)
        assert self._go.wait(10)

    def let_go(self) -> None:
        self._go.set()

    async def begun(self) -> None:
        await self._begun.wait()


async def cancelled(storing: asyncio.Task[StoredFile], held: Held) -> bool:
    """Whether it has ended before the thread had."""
    await held.begun()
    storing.cancel()
    early, _ = await asyncio.wait([storing], timeout=0.1)
    held.let_go()
    with pytest.raises(asyncio.CancelledError):
        await storing
    return bool(early)


@pytest.mark.usefixtures("small_pieces")
async def test_a_file_is_not_closed_while_a_thread_still_writes(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    held, write = Held(), spools._Writer._write_pieces

    def slowly(self: Any, *pieces: Any, **last: Any) -> None:
        held.hold()
        write(self, *pieces, **last)

    monkeypatch.setattr(spools._Writer, "_write_pieces", slowly)
    storing = asyncio.create_task(spool.store("a", pieces(bytes(100), [20]), limit=ANY_LIMIT))
    assert not await cancelled(storing, held)
    assert names(spool) == []


async def test_an_upload_that_is_cancelled_at_the_very_end_leaves_no_file(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, show = Held(), Spool._publish

    def slowly(self: Any, *paths: Any) -> None:
        show(self, *paths)
        held.hold()

    monkeypatch.setattr(Spool, "_publish", slowly)
    storing = asyncio.create_task(spool.store("a", pieces(bytes(100), [20]), limit=ANY_LIMIT))
    await cancelled(storing, held)
    assert names(spool) == []


@pytest.mark.usefixtures("small_pieces")
async def test_pieces_are_written_one_after_another(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    write, second = spools._Writer._write_pieces, threading.Event()
    begun: list[int] = []

    def first_waits(self: Any, *pieces: Any, **last: Any) -> None:
        begun.append(self._written)
        if len(begun) > 1:
            second.set()
        elif second.wait(0.2):
            message = "the second piece was written before the first"
            raise AssertionError(message)
        write(self, *pieces, **last)

    monkeypatch.setattr(spools._Writer, "_write_pieces", first_waits)
    data = bytes(range(100))
    await spool.store("a", pieces(data, [20]), limit=ANY_LIMIT)
    assert spool.read("a", 0, len(data)) == data
    assert begun == sorted(set(begun))


@pytest.mark.parametrize("limit", [0, 1, 15, 16, 17, 100])
@pytest.mark.usefixtures("small_pieces")
async def test_the_limit_is_the_last_size_that_is_taken(spool: Spool, limit: int) -> None:
    stored = await spool.store("a", pieces(bytes(limit), [7]), limit=limit)
    assert stored.bytes_total == limit
    with pytest.raises(TooLarge) as refused:
        await spool.store("b", pieces(bytes(limit + 1), [7]), limit=limit)
    assert refused.value.limit == limit
    assert names(spool) == ["a"]


async def test_a_range_that_the_file_does_not_have_is_an_error(spool: Spool) -> None:
    await spool.store("a", pieces(b"0123456789", [3]), limit=ANY_LIMIT)
    assert spool.read("a", 3, 6) == b"345"
    assert spool.read("a", 10, 10) == b""
    with pytest.raises(EOFError):
        spool.read("a", 8, 11)
    with pytest.raises(FileNotFoundError):
        spool.read("b", 0, 1)


async def test_files_are_for_their_owner_alone(spool: Spool, tmp_path: Path) -> None:
    await spool.store("a", pieces(b"secret", [3]), limit=ANY_LIMIT)
    assert (tmp_path / "spool" / "a").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700


def test_deleting_what_is_gone_is_fine(spool: Spool) -> None:
    spool.delete("never-there")


@pytest.mark.parametrize("url", ["s3://bucket/spool", "file://spool", "/var/spool", ""])
def test_a_place_that_is_no_folder_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="SPOOL_URL"):
        Spool(url)
