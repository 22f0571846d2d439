"""Decompression of uploads in pieces; bombs and damaged files are refused."""

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.http.problems import Problem
from services.gateway.uploads.decompress import OUTPUT_BYTES, Coding, Decompressor, detect_coding

QUICKLY = settings(max_examples=80, derandomize=True, deadline=None)
COMPRESS: dict[Coding, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress}
CODINGS: tuple[Coding, ...] = ("gzip", "zstd")
BOTH = pytest.mark.parametrize("coding", CODINGS)


def steps(coding: Coding, pieces: Iterator[bytes]) -> Iterator[bytes]:
    decompressor = Decompressor(coding)
    for piece in pieces:
        yield from decompressor.feed(piece)
    yield from decompressor.end()


def split(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = turn = 0
    while at < len(data):
        yield data[at : at + sizes[turn % len(sizes)]]
        at, turn = at + sizes[turn % len(sizes)], turn + 1


def decompressed(coding: Coding, data: bytes, sizes: list[int] | None = None) -> bytes:
    return b"".join(steps(coding, split(data, sizes or [1 << 18])))


def refused(coding: Coding, data: bytes, sizes: list[int] | None = None) -> tuple[int, str]:
    with pytest.raises(Problem) as problem:
        decompressed(coding, data, sizes)
    return problem.value.status, problem.value.code


@QUICKLY
@given(
    coding=st.sampled_from(CODINGS),
    members=st.lists(st.binary(max_size=300), min_size=1, max_size=4),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
)
def test_what_was_compressed_comes_out_wherever_the_pieces_end(
    coding: Coding, members: list[bytes], sizes: list[int]
) -> None:
    compressed = b"".join(COMPRESS[coding](member) for member in members)
    assert decompressed(coding, compressed, sizes) == b"".join(members)


@BOTH
def test_much_comes_out_in_small_steps(coding: Coding) -> None:
    text = b"".join(b"%d,Person %d\n" % (number, number) for number in range(400_000))
    made = list(steps(coding, split(COMPRESS[coding](text), [1 << 20])))
    assert b"".join(made) == text
    assert max(map(len, made)) <= OUTPUT_BYTES


@BOTH
def test_a_file_cut_off_anywhere_is_refused(coding: Coding) -> None:
    compressed = COMPRESS[coding](b"id,department\n1,Sales\n" * 20)
    for length in range(1, len(compressed)):
        assert refused(coding, compressed[:length]) == (422, "corrupt_compression"), length


@BOTH
def test_a_damaged_file_is_refused_or_its_text_is_whole(coding: Coding) -> None:
    """Some bits of a gzip header, like the time, mean nothing for the text."""
    text = random.Random(1).randbytes(2000)
    whole = (
        gzip.compress(text)
        if coding == "gzip"
        else zstd.compress(text, options={zstd.CompressionParameter.checksum_flag: 1})
    )
    codes = []
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 0x55
        try:
            assert decompressed(coding, bytes(data)) == text
        except Problem as problem:
            codes.append(problem.code)
    assert set(codes) == {"corrupt_compression"}
    assert len(codes) > len(whole) * 0.98


def test_a_wrong_check_sum_is_refused() -> None:
    compressed = gzip.compress(b"id,department\n")
    wrong = compressed[:-8] + bytes([compressed[-8] ^ 1]) + compressed[-7:]
    assert refused("gzip", wrong) == (422, "corrupt_compression")


@BOTH
def test_garbage_after_the_end_is_refused(coding: Coding) -> None:
    compressed = COMPRESS[coding](b"id,department\n")
    assert refused(coding, compressed + b"garbage, long enough to be looked at") == (422, "corrupt_compression")


def test_zeros_after_the_end_of_gzip_are_padding() -> None:
    compressed = gzip.compress(b"1\n") + bytes(1000) + gzip.compress(b"2\n") + bytes(7)
    for size in (1, 10, 5000):
        assert decompressed("gzip", compressed, [size]) == b"1\n2\n"


def test_frames_of_zstd_that_are_to_be_skipped_are_skipped() -> None:
    skipped = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    assert decompressed("zstd", zstd.compress(b"1\n") + skipped + zstd.compress(b"2\n"), [3]) == b"1\n2\n"


def zeros(coding: Coding, megabytes: int) -> bytes:
    """Compressed as well as can be, without ever having them all."""
    packer = zlib.compressobj(9, wbits=31) if coding == "gzip" else zstd.ZstdCompressor(level=19)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()


def defused(coding: Coding, pieces: Iterator[bytes]) -> int:
    """How many bytes were made until it was refused."""
    made = 0
    try:
        for piece in steps(coding, pieces):
            made += len(piece)
    except Problem as problem:
        if (problem.status, problem.code) == (413, "compression_ratio"):
            return made
        raise
    message = "the bomb went off"
    raise AssertionError(message)


@BOTH
def test_a_bomb_is_refused_early_and_in_little_memory(coding: Coding) -> None:
    bomb = zeros(coding, 256)
    tracemalloc.start()
    try:
        made = defused(coding, split(bomb, [400_000]))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 8 << 20
    assert made < 16 << 20


@BOTH
def test_a_bomb_behind_an_honest_file_is_refused_too(coding: Coding) -> None:
    honest = COMPRESS[coding](random.Random(1).randbytes(100_000))
    made = defused(coding, iter([honest + zeros(coding, 256)]))
    assert made < 200 * (len(honest) + 40_000)


@BOTH
def test_little_text_may_be_as_repetitive_as_it_likes(coding: Coding) -> None:
    assert len(decompressed(coding, zeros(coding, 9))) == 9 << 20


def test_zstd_that_wants_much_memory_is_refused() -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27}
    greedy = zstd.ZstdCompressor(options=options)
    data = greedy.compress(b"1,A\n" * 1000) + greedy.flush()
    assert refused("zstd", data) == (422, "corrupt_compression")


@BOTH
def test_nothing_is_nothing(coding: Coding) -> None:
    assert decompressed(coding, b"") == b""
    assert decompressed(coding, COMPRESS[coding](b"")) == b""


def test_compressed_files_are_known_by_their_beginning() -> None:
    for coding in CODINGS:
        assert detect_coding(COMPRESS[coding](b"1")) == coding
    for start in (b"", b"\x1f", b"\x1f\x8b", b"id,name\n", b"\xff\xfei\0", b'{"id": 1}'):
        assert detect_coding(start) is None
