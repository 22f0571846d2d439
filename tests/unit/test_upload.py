"""From a request body to the text of a file: raw or in a form, compressed or not, in any encoding, cut off."""

import gzip
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from backports import zstd
from litestar import Litestar, Request
from litestar.testing import RequestFactory

from services.gateway.http.problems import Problem
from services.gateway.uploads.charset import Encoding
from services.gateway.uploads.media_types import ACCEPTED, Media, media_of_name
from services.gateway.uploads.upload import open_upload

TEXT = "id,name\n1,Zoë\n2,Müßig\n".encode()
ANY_LIMIT = 1 << 30
BOUNDARY = "the-boundary"
CSV = "text/csv"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
app = Litestar([])


def request(pieces: Iterable[bytes], *, cut_off: bool = False, **headers: str) -> Request[Any, Any, Any]:
    """One whose body comes in these pieces; of one that is cut off the last piece never comes."""
    built = RequestFactory(app=app).post(
        "/", headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    sent: list[Any] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    sent.append({"type": "http.disconnect"} if cut_off else {"type": "http.request", "body": b"", "more_body": False})
    events = iter(sent)

    async def receive() -> Any:
        return next(events)

    return Request(built.scope, receive=receive)


def split(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def form(*parts: tuple[str, bytes]) -> bytes:
    """Each part is its headers after `form-data`, and its content."""
    head = "--" + BOUNDARY + "\r\nContent-Disposition: form-data"
    body = b"".join(f"{head}{headers}\r\n\r\n".encode() + content + b"\r\n" for headers, content in parts)
    return body + f"--{BOUNDARY}--\r\n".encode()


def file_part(name: str, content: bytes, kind: str = "application/octet-stream") -> tuple[str, bytes]:
    return f'; name="file"; filename="{name}"\r\nContent-Type: {kind}', content


async def opened(
    data: bytes,
    *,
    size: int = 1 << 18,
    encoding: Encoding = "auto",
    limit: int = ANY_LIMIT,
    cut_off: bool = False,
    **headers: str,
) -> tuple[Media, bytes]:
    came = request(split(data, size), cut_off=cut_off, **headers)
    upload = await open_upload(came, encoding=encoding, limit=limit)
    return upload.media, b"".join([piece async for piece in upload.pieces])


async def refused(data: bytes, **options: Any) -> Problem:
    with pytest.raises(Problem) as problem:
        await opened(data, **options)
    return problem.value


COMPRESSED = {"": TEXT, ".gz": gzip.compress(TEXT, mtime=0), ".zst": zstd.compress(TEXT)}
NAMES = {".csv": "csv", ".tsv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "json"}
TYPES = {
    "text/csv": "csv",
    "text/csv; charset=utf-8; header=present": "csv",
    "TEXT/CSV": "csv",
    "text/tab-separated-values": "csv",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/json": "json",
}


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(("ending", "body"), COMPRESSED.items())
@pytest.mark.parametrize(("kind", "found"), TYPES.items())
async def test_a_raw_body_is_what_its_type_says(kind: str, found: str, ending: str, body: bytes, size: int) -> None:
    media, text = await opened(body, content_type=kind, size=size)
    assert (media.format, text) == (found, TEXT)
    if ending:
        coding = {".gz": "gzip", ".zst": "zstd"}[ending]
        assert await opened(body, content_type=kind, content_encoding=coding, size=size) == (media, TEXT)


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(("name", "found"), NAMES.items())
@pytest.mark.parametrize("ending", COMPRESSED)
async def test_a_file_in_a_form_is_what_its_name_says(name: str, found: str, ending: str, size: int) -> None:
    body = form(('; name="note"', b"by me"), file_part(f"My Data{name}{ending}".upper(), COMPRESSED[ending]), ("", b""))
    media, text = await opened(body, content_type=FORM, size=size)
    assert (media.format, text) == (found, TEXT)
    assert media.delimiter == ("\t" if name == ".tsv" else ",")


async def test_its_own_type_goes_before_its_name() -> None:
    media, _ = await opened(form(file_part("data.txt", TEXT, "application/x-ndjson")), content_type=FORM)
    assert media.format == "ndjson"
    media, _ = await opened(form(file_part("data.json", TEXT, "text/csv")), content_type=FORM)
    assert media.format == "csv"
    media, _ = await opened(form(file_part("data.csv", TEXT, "application/vnd.ms-excel")), content_type=FORM)
    assert media.format == "csv"


def test_a_name_that_says_nothing() -> None:
    for name in ("", "csv", ".gz", "data.gz", "data.csv.bz2", "data.xlsx", "data.csv.gz.gz"):
        assert media_of_name(name) is None


@pytest.mark.parametrize("kind", ["", "text/plain", "application/gzip", "application/x-www-form-urlencoded", "*/*"])
async def test_what_can_not_be_imported_is_415_and_says_what_can(kind: str) -> None:
    for problem in (
        await refused(TEXT, content_type=kind),
        await refused(form(file_part("data.bin", TEXT, kind)), content_type=FORM),
    ):
        assert (problem.status, problem.code) == (415, "unsupported_media_type")
        assert problem.headers["Accept-Post"] == ", ".join(ACCEPTED)


async def test_an_unknown_content_encoding_is_415_and_says_what_is_known() -> None:
    for coding in ("br", "gzip, gzip"):
        problem = await refused(TEXT, content_type=CSV, content_encoding=coding)
        assert (problem.status, problem.code) == (415, "unsupported_encoding")
        assert problem.headers["Accept-Encoding"] == "gzip, zstd"
    assert (await opened(TEXT, content_type=CSV, content_encoding="identity"))[1] == TEXT
    assert (await opened(COMPRESSED[".gz"], content_type=CSV, content_encoding="X-GZIP"))[1] == TEXT


async def test_a_form_that_is_compressed_itself_is_415() -> None:
    body = gzip.compress(form(file_part("a.csv", TEXT)))
    assert (await refused(body, content_type=FORM, content_encoding="gzip")).status == 415


async def test_a_file_with_a_content_encoding_must_be_compressed() -> None:
    problem = await refused(TEXT, content_type=CSV, content_encoding="gzip")
    assert (problem.status, problem.code) == (422, "corrupt_compression")


async def test_a_file_that_is_compressed_twice_is_refused() -> None:
    compressors: list[Callable[[bytes], bytes]] = [gzip.compress, zstd.compress]
    for first, second in itertools.product(compressors, repeat=2):
        problem = await refused(second(first(TEXT)), content_type=CSV)
        assert (problem.status, problem.code) == (422, "compressed_twice")


@pytest.mark.parametrize("mark", [True, False])
@pytest.mark.parametrize("ending", COMPRESSED)
@pytest.mark.parametrize(
    ("encoding", "codec"),
    [("utf-16-le", "utf-16-le"), ("utf-16-be", "utf-16-be"), ("latin-1", "latin-1"), ("windows-1252", "cp1252")],
)
async def test_any_encoding_becomes_utf_8(encoding: Encoding, codec: str, ending: str, *, mark: bool) -> None:
    data = (("\ufeff" if mark and "16" in codec else "") + TEXT.decode()).encode(codec)
    compress: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstd.compress}
    packed = compress[ending](data)
    text = (await opened(packed, content_type=CSV, encoding=encoding, size=5))[1]
    assert text.removeprefix(b"\xef\xbb\xbf") == TEXT
    if mark and "16" in codec:
        assert (await opened(packed, content_type=CSV, size=5))[1] == text
        assert (await opened(packed, content_type=CSV, encoding="utf-16"))[1] == text
        assert (await refused(packed, content_type=CSV, encoding="utf-8")).code == "encoding_mismatch"


@pytest.mark.parametrize(
    ("charset", "codec"),
    [("ISO-8859-1", "latin-1"), ("windows-1252", "cp1252"), ("utf-16le", "utf-16-le"), ("utf-8", "utf-8")],
)
async def test_the_content_type_may_say_the_encoding(charset: str, codec: str) -> None:
    data = TEXT.decode().encode(codec)
    assert (await opened(data, content_type=f"text/csv; charset={charset}"))[1] == TEXT
    in_form = form(file_part("a.csv", data, f"text/csv; charset={charset}"))
    assert (await opened(in_form, content_type=FORM))[1] == TEXT
    # The parameter outweighs it, for those whose program always says the same.
    assert (await opened(TEXT, content_type=f"text/csv; charset={charset}", encoding="utf-8"))[1] == TEXT


async def test_a_mark_outweighs_a_charset_that_programs_say_without_looking() -> None:
    data = TEXT.decode().encode("utf-16")
    assert (await opened(data, content_type="text/csv; charset=utf-8"))[1].endswith(TEXT)


async def test_an_unknown_charset_is_415() -> None:
    problem = await refused(TEXT, content_type="text/csv; charset=koi8-r")
    assert (problem.status, problem.code) == (415, "unsupported_charset")
    assert "iso-8859-1" in problem.hint


@pytest.mark.parametrize("size", [1, 10_000])
async def test_the_limit_is_for_what_comes_and_for_what_it_becomes(size: int) -> None:
    text = b"1,A\n" * 1000
    for packed in (text, gzip.compress(text), zstd.compress(text)):
        assert (await opened(packed, content_type=CSV, limit=len(text), size=size))[1] == text
        problem = await refused(packed, content_type=CSV, limit=len(text) - 1, size=size)
        assert (problem.status, problem.code, problem.limit_bytes) == (413, "too_large", len(text) - 1)


async def test_a_file_in_a_form_may_be_as_large_as_any() -> None:
    text = b"1,A\n" * 1000
    body = form(('; name="note"', b"by me"), file_part("a.csv", text))
    assert (await opened(body, content_type=FORM, limit=len(text)))[1] == text


async def test_an_announced_length_above_the_limit_is_refused_unread() -> None:
    came = request([], content_type=CSV, content_length="1001", cut_off=True)
    with pytest.raises(Problem) as problem:
        await open_upload(came, encoding="auto", limit=1000)
    assert (problem.value.status, problem.value.limit_bytes) == (413, 1000)
    assert "1001" in str(problem.value)


async def test_members_without_text_end_at_the_limit_too() -> None:
    problem = await refused(gzip.compress(b"") * 1000, content_type=CSV, limit=10_000, size=100)
    assert problem.code == "too_large"


@pytest.mark.parametrize("ending", COMPRESSED)
@pytest.mark.parametrize("in_form", [False, True])
async def test_a_body_cut_off_at_any_byte_is_refused(ending: str, *, in_form: bool) -> None:
    packed = COMPRESSED[ending]
    body = form(file_part(f"a.csv{ending}", packed)) if in_form else packed
    kind = FORM if in_form else CSV
    for length in range(len(body)):
        problem = await refused(body[:length], content_type=kind, size=9, cut_off=True)
        assert (problem.status, problem.code) == (400, "upload_cut_off"), length


@pytest.mark.parametrize("ending", COMPRESSED)
async def test_a_form_that_ends_too_early_is_refused(ending: str) -> None:
    """Even if the client itself has ended it. The last line end belongs to no form."""
    body = form(file_part(f"a.csv{ending}", COMPRESSED[ending])).removesuffix(b"\r\n")
    for length in range(len(body)):
        assert (await refused(body[:length], content_type=FORM, size=9)).status in (400, 422), length
    assert (await opened(body, content_type=FORM, size=9))[1] == TEXT


@pytest.mark.parametrize("ending", [".gz", ".zst"])
async def test_a_compressed_file_that_ends_too_early_is_refused(ending: str) -> None:
    """From the bytes on that tell that it is compressed."""
    for length in range(4, len(COMPRESSED[ending])):
        problem = await refused(COMPRESSED[ending][:length], content_type=CSV, size=9)
        assert problem.code == "corrupt_compression", length


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([], "no_file"),
        ([('; name="note"', b"by me")], "no_file"),
        ([('; name="file"; filename=""\r\nContent-Type: application/octet-stream', b"")], "no_file"),
        ([file_part("a.csv", TEXT), file_part("b.csv", TEXT)], "several_files"),
    ],
)
async def test_a_form_without_one_file_is_refused(parts: Sequence[tuple[str, bytes]], code: str) -> None:
    for size in (1, 1000):
        problem = await refused(form(*parts), content_type=FORM, size=size)
        assert (problem.status, problem.code) == (422, code)


async def test_what_is_no_form_is_refused() -> None:
    assert (await refused(TEXT, content_type=FORM)).code == "bad_form"
    assert (await refused(form(file_part("a.csv", TEXT)), content_type="multipart/form-data")).code == "bad_form"


@pytest.mark.parametrize("data", [b"", b"\n", b"1", b"\x1f", b"\xff\xfe", b"\xef\xbb\xbf"])
async def test_a_file_shorter_than_any_mark_comes_as_it_is(data: bytes) -> None:
    assert (await opened(data, content_type=CSV))[1] == data.replace(b"\xff\xfe", b"\xef\xbb\xbf")
