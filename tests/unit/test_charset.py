"""Decoding to UTF-8, wherever the pieces end; undecodable bytes stay invalid."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.http.problems import Problem
from services.gateway.uploads.charset import CHARSETS, Encoding, Transcoder, detect_encoding

QUICKLY = settings(max_examples=150, derandomize=True, deadline=None)
CODECS: dict[Encoding, str] = {
    "utf-16-le": "utf-16-le",
    "utf-16-be": "utf-16-be",
    "latin-1": "latin-1",
    "windows-1252": "cp1252",
}


def transcoded(data: bytes, encoding: Encoding, size: int = 3) -> bytes:
    transcoder = Transcoder(encoding)
    made = [piece for start in range(0, len(data), size) for piece in transcoder.feed(data[start : start + size])]
    return b"".join([*made, *transcoder.end()])


def lines(data: bytes) -> list[bool]:
    """Of each line, whether it is UTF-8."""

    def fine(line: bytes) -> bool:
        try:
            line.decode()
        except UnicodeDecodeError:
            return False
        return True

    return [fine(line) for line in data.split(b"\n")]


@QUICKLY
@given(text=st.text(max_size=60), size=st.integers(1, 9), encoding=st.sampled_from(["utf-16-le", "utf-16-be"]))
def test_utf_16_is_the_same_text(text: str, size: int, encoding: Encoding) -> None:
    assert transcoded(text.encode(encoding), encoding, size) == text.encode()


@pytest.mark.parametrize("encoding", ["latin-1", "windows-1252"])
def test_one_byte_a_character_is_the_same_text(encoding: Encoding) -> None:
    text = "id,name\n1,Zoë Müßig\n2,Œuvre… 5 €\n" if encoding == "windows-1252" else "id,name\n1,Zoë Müßig\n"
    assert transcoded(text.encode(CODECS[encoding]), encoding) == text.encode()


@QUICKLY
@given(data=st.binary(max_size=80), size=st.integers(1, 9), encoding=st.sampled_from(list(CODECS)))
def test_nothing_stops_it_and_what_is_valid_stays(data: bytes, size: int, encoding: Encoding) -> None:
    """Only what can't be decoded is not UTF-8 afterwards, wherever the pieces end."""
    made = transcoded(data, encoding, size)
    assert made == transcoded(data, encoding, 1000)
    try:
        assert made == data.decode(CODECS[encoding]).encode()
    except UnicodeDecodeError:
        with pytest.raises(UnicodeDecodeError):
            made.decode()


@pytest.mark.parametrize("lone", [b"\x00\xd8", b"\x00\xdc", b"\x00\xdc\x00\xd8"])
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_a_lone_surrogate_spoils_its_own_line_only(lone: bytes, size: int) -> None:
    text = "1,ä\n".encode("utf-16-le") + "2,".encode("utf-16-le") + lone + "\n3,ö\n".encode("utf-16-le")
    made = transcoded(text, "utf-16-le", size)
    assert lines(made) == [True, False, True, True]
    assert made.startswith("1,ä\n2,".encode())
    assert made.endswith("\n3,ö\n".encode())


def test_half_a_character_at_the_end_spoils_the_last_line_only() -> None:
    assert lines(transcoded("1,a\n2,b".encode("utf-16-le") + b"c", "utf-16-le")) == [True, False]
    assert lines(transcoded("1,a\n".encode("utf-16-be") + b"\0", "utf-16-be")) == [True, False]
    assert lines(transcoded("1,a\n2,".encode("utf-16-le") + b"\x3d\xd8", "utf-16-le")) == [True, False]


def test_bytes_that_windows_does_not_know_spoil_their_line_only() -> None:
    assert lines(transcoded(b"1,a\n2,\x81\n3,\xfc\n", "windows-1252")) == [True, False, True, True]


@pytest.mark.parametrize(
    ("start", "declared", "found"),
    [
        (b"id,", "auto", "utf-8"),
        (b"", "auto", "utf-8"),
        (b"\xef\xbb\xbfid", "auto", "utf-8"),
        (b"\xff\xfei\0", "auto", "utf-16-le"),
        (b"\xfe\xff\0i", "auto", "utf-16-be"),
        (b"\xff\xfei\0", "utf-16", "utf-16-le"),
        (b"\xfe\xff\0i", "utf-16", "utf-16-be"),
        (b"i\0d\0", "utf-16", "utf-16-le"),
        (b"\xff\xfei\0", "utf-16-le", "utf-16-le"),
        (b"\0i\0d", "utf-16-be", "utf-16-be"),
        (b"\xef\xbb\xbfid", "utf-8", "utf-8"),
        (b"\xe4,", "latin-1", "latin-1"),
        (b"\xe4,", "windows-1252", "windows-1252"),
    ],
)
def test_the_mark_decides_unless_there_is_none(start: bytes, declared: Encoding, found: Encoding) -> None:
    assert detect_encoding(start, declared) == found


@pytest.mark.parametrize(
    ("start", "declared"),
    [
        (b"\xff\xfei\0", "utf-8"),
        (b"\xfe\xff\0i", "utf-8"),
        (b"\xff\xfei\0", "utf-16-be"),
        (b"\xff\xfei\0", "latin-1"),
        (b"\xef\xbb\xbfid", "utf-16"),
        (b"\xef\xbb\xbfid", "windows-1252"),
    ],
)
def test_a_mark_that_contradicts_the_declared_encoding_is_refused_with_a_hint(start: bytes, declared: Encoding) -> None:
    with pytest.raises(Problem) as problem:
        detect_encoding(start, declared)
    assert (problem.value.status, problem.value.code) == (422, "encoding_mismatch")
    assert "encoding" in problem.value.hint


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_two_bytes_a_character_without_a_mark_are_recognised(encoding: Encoding) -> None:
    with pytest.raises(Problem) as problem:
        detect_encoding("id".encode(encoding), "auto")
    assert problem.value.hint == f"Send encoding={encoding}."


@pytest.mark.parametrize("start", [b"\0\0\0\0", b"a\0,b", b"a\0", b"\0", b"\0a\0\0"])
def test_zeros_alone_are_no_reason_to_refuse_a_file(start: bytes) -> None:
    assert detect_encoding(start, "auto") == "utf-8"


def test_a_mark_stays_at_the_beginning() -> None:
    assert transcoded("\ufeffid\n".encode("utf-16-le"), "utf-16-le") == b"\xef\xbb\xbfid\n"


def test_charsets_are_written_as_they_are_looked_up() -> None:
    assert all(name == name.lower() for name in CHARSETS)
