"""Uploads in every format, encoding and compression; bombs, cut-off and wrong files leave nothing behind."""

import asyncio
import csv
import gzip
import io
import json
import random
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from backports import zstd

from tests.acceptance.import_files import failed_rows, get
from tests.stack import Stack, memory
from tests.waiting import eventually

PATH = "/v1/datasets/items/imports"
HEADER = ("id", "name", "price", "description")
LARGEST_GROWTH = 50_000_000
SECONDS = 20.0
COMPRESS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstd.compress}
CODINGS = {".gz": "gzip", ".zst": "zstd"}
TYPES = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".ndjson": "application/x-ndjson",
    ".json": "application/json",
}


def rows(first: int) -> list[tuple[int, str, str, str | None]]:
    """Awkward ones: quotes, line ends and delimiters in cells, letters of more than one byte, an empty cell."""
    return [
        (first, 'Zoë\'s "large", tab\t;|', "1.50", "two\nlines"),
        (first + 1, "Müßig", "0.00", None),
        (first + 2, "Łódź 🏭", "12345.67", "last"),
    ]


def written(ending: str, first: int) -> bytes:
    found = [dict(zip(HEADER, row, strict=True)) for row in rows(first)]
    if ending == ".ndjson":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found).encode()
    if ending == ".json":
        return json.dumps(found, ensure_ascii=False, indent=2).encode()
    out = io.StringIO()
    writer = csv.DictWriter(out, HEADER, delimiter="\t" if ending == ".tsv" else ",")
    writer.writeheader()
    writer.writerows(found)
    return out.getvalue().encode()


async def post(stack: Stack, content: bytes, kind: str, **parameters: Any) -> httpx2.Response:
    headers = {"Content-Type": kind, "Prefer": "wait=60", **parameters.pop("headers", {})}
    return await stack.client.post(PATH, content=content, params=parameters, headers=headers)


def ended(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    return job


async def stored(stack: Stack, first: int) -> list[tuple[Any, ...]]:
    found = [await get(stack, f"/v1/datasets/items/rows/{number}") for number in range(first, first + 3)]
    return [(row["id"], row["name"], f"{row['price']:.2f}", row["description"]) for row in found]


def refused(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    body: dict[str, Any] = answer.json()
    return body


def spooled(stack: Stack) -> set[str]:
    return {file.name for file in (stack.home / "spool").iterdir()}


async def jobs(stack: Stack) -> set[str]:
    return {job["id"] for job in (await get(stack, "/v1/jobs", dataset="items", limit=200))["data"]}


FIRSTS = iter(range(1_000_000, 2_000_000, 10))


@pytest.mark.parametrize("sent", ["raw", "header", "form"])
@pytest.mark.parametrize("compressed", COMPRESS)
@pytest.mark.parametrize("ending", TYPES)
async def test_each_format_however_it_is_sent_ends_in_the_same_rows(
    stack: Stack, ending: str, compressed: str, sent: str
) -> None:
    first = next(FIRSTS)
    content = COMPRESS[compressed](written(ending, first))
    if sent == "form":
        files = {"file": (f"items{ending}{compressed}", content, "application/octet-stream")}
        answer = await stack.client.post(PATH, files=files, data={"by": "me"}, headers={"Prefer": "wait=60"})
    else:
        header = {"Content-Encoding": CODINGS.get(compressed, "identity")} if sent == "header" else {}
        answer = await post(stack, content, TYPES[ending], headers=header)
    job = ended(answer)
    assert (job["status"], job["outcome"]["inserted"], job["error"]) == ("succeeded", 3, None)
    assert await stored(stack, first) == rows(first)


@pytest.mark.parametrize("compressed", COMPRESS)
@pytest.mark.parametrize(
    ("codec", "parameters"),
    [
        ("utf-8-sig", {}),
        ("utf-16", {}),
        ("utf-16", {"encoding": "utf-16"}),
        ("utf-16-le", {"encoding": "utf-16-le"}),
        ("utf-16-be", {"encoding": "utf-16-be"}),
    ],
)
async def test_text_of_two_bytes_a_character(
    stack: Stack, codec: str, parameters: dict[str, str], compressed: str
) -> None:
    first = next(FIRSTS)
    content = COMPRESS[compressed](written(".csv", first).decode().encode(codec))
    job = ended(await post(stack, content, "text/csv", **parameters))
    assert (job["status"], job["outcome"]["inserted"], job["error"]) == ("succeeded", 3, None)
    assert await stored(stack, first) == rows(first)


@pytest.mark.parametrize(("codec", "encoding"), [("latin-1", "latin-1"), ("cp1252", "windows-1252")])
async def test_text_of_one_byte_a_character(stack: Stack, codec: str, encoding: str) -> None:
    first = next(FIRSTS)
    text = f"id,name,price\n{first},Müßig,1\n"
    job = ended(await post(stack, text.encode(codec), "text/csv", encoding=encoding))
    assert (job["status"], job["outcome"]["inserted"]) == ("succeeded", 1), job
    job = ended(
        await post(
            stack,
            text.encode(codec),
            f"text/csv; charset={codec.replace('cp', 'windows-')}"
            if codec == "cp1252"
            else "text/csv; charset=iso-8859-1",
        )
    )
    assert job["outcome"]["unchanged"] == 1
    assert (await get(stack, f"/v1/datasets/items/rows/{first}"))["name"] == "Müßig"


async def test_what_is_no_text_costs_its_own_row(stack: Stack) -> None:
    first = next(FIRSTS)
    lines = [f"{first},Zoë,1\n", f"{first + 1},?,1\n", f"{first + 2},Müßig,1\n", f"{first + 3},end,1"]
    content = ("id,name,price\n" + "".join(lines)).encode("utf-16").replace(b"?\0", b"\0\xdc") + b"!"
    job = ended(await post(stack, content, "text/csv"))
    assert (job["status"], job["outcome"]["inserted"], job["outcome"]["failed"]) == ("partial", 2, 2), job
    found = await failed_rows(stack, job)
    assert [(row["line"], [error["code"] for error in row["errors"]]) for row in found] == [
        (3, ["encoding"]),
        (5, ["encoding"]),
    ]


@pytest.mark.parametrize("mode", ["upsert", "replace"])
async def test_a_malformed_array_is_refused_with_the_place_of_the_mistake_and_nothing_is_loaded(
    stack: Stack, mode: str
) -> None:
    first = next(FIRSTS)
    found = [{"id": first + number % 3, "name": "Müßig", "price": 1} for number in range(5000)]
    whole = json.dumps(found, ensure_ascii=False, indent=0)
    content = whole.encode() + b"\n {}"
    job = ended(await post(stack, content, "application/json", mode=mode))
    place = f"line {whole.count(chr(10)) + 2}, column 2 (byte {len(content) - 2})"
    assert (job["status"], job["outcome"]["rows_read"], job["error"]["code"]) == ("failed", 0, "not_json"), job
    assert place in job["error"]["detail"]
    assert "Write one object a line (NDJSON)" in job["error"]["hint"]
    assert (await stack.client.get(f"/v1/datasets/items/rows/{first}")).status_code == 404


async def test_elements_that_are_no_good_rows_cost_themselves_alone(stack: Stack) -> None:
    first = next(FIRSTS)
    content = f'[{{"id": {first}, "name": "a", "price": 1}},\n[1], {{"id": "x"}},\n\n"text"]'.encode()
    job = ended(await post(stack, content, "application/json"))
    assert (job["status"], job["outcome"]["inserted"], job["outcome"]["failed"]) == ("partial", 1, 3), job
    found = [(row["line"], row["errors"][0]["code"]) for row in await failed_rows(stack, job)]
    assert found == [(2, "not_an_object"), (2, "type"), (4, "not_an_object")]


async def test_a_mark_that_contradicts_the_encoding_is_422(stack: Stack) -> None:
    answer = await post(stack, written(".csv", 1).decode().encode("utf-16"), "text/csv", encoding="utf-8")
    assert "encoding" in refused(answer, 422, "encoding_mismatch")["hint"]


def bomb(coding: str) -> bytes:
    """Lines of a fitting file, and then ten gigabytes of zeros."""
    lines, zeros = b"id,name,price\n" + b"1,a,2\n" * 20_000, bytes(64 << 20)
    # Zeros repeat themselves in the compressed file too: most of it is made once and used over and over.
    if coding == "gzip":
        gzip_packer = zlib.compressobj(9, wbits=31)
        head = gzip_packer.compress(lines + zeros) + gzip_packer.flush(zlib.Z_FULL_FLUSH)
        return head + (gzip_packer.compress(zeros) + gzip_packer.flush(zlib.Z_FULL_FLUSH)) * 160
    zstd_packer = zstd.ZstdCompressor(level=3)
    return zstd_packer.compress(lines + zeros) + zstd_packer.flush() + zstd.compress(zeros, 3) * 160


@pytest.mark.parametrize("in_form", [False, True])
@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_a_bomb_is_refused_and_fills_neither_memory_nor_spool(
    stack: Stack, coding: str, *, in_form: bool
) -> None:
    before = spooled(stack)
    content = bomb(coding)
    gateway = Path(f"/proc/{stack.pid('gateway')}")
    (gateway / "clear_refs").write_text("5")  # the peak begins again
    resident = memory(gateway, "VmRSS")
    if in_form:
        answer = await stack.client.post(PATH, files={"file": ("items.csv", content)})
    else:
        answer = await post(stack, content, "text/csv", headers={"Content-Encoding": coding})
    refused(answer, 413, "compression_ratio")
    assert spooled(stack) <= before
    assert memory(gateway, "VmHWM") - resident < LARGEST_GROWTH


@pytest.mark.parametrize("damaged", ["cut", "flipped", "garbage"])
@pytest.mark.parametrize("compressed", [".gz", ".zst"])
async def test_a_damaged_compressed_file_is_422(stack: Stack, compressed: str, damaged: str) -> None:
    before = await jobs(stack), spooled(stack)
    checked: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}
    text = written(".csv", 1) * 50
    whole = gzip.compress(text) if compressed == ".gz" else zstd.compress(text, options=checked)
    middle = len(whole) // 2
    content = {
        "cut": whole[:-3],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :],
        "garbage": whole + b"and then something else",
    }[damaged]
    refused(await post(stack, content, "text/csv"), 422, "corrupt_compression")
    assert (await jobs(stack), spooled(stack)) == before


class Sent:
    """A request to be sent by hand, to any byte."""

    def __init__(
        self, stack: Stack, body: bytes, kind: str, *, chunked: bool = False, length: int | None = None
    ) -> None:
        self._port = urlsplit(stack.url).port
        if chunked:
            length_line = "Transfer-Encoding: chunked"
            pieces = (body[start : start + 1000] for start in range(0, len(body), 1000))
            body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        else:
            length_line = f"Content-Length: {len(body) if length is None else length}"
        self.head = (
            f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
            f"{length_line}\r\nAuthorization: Bearer {stack.key}\r\n\r\n"
        ).encode()
        self.body = body

    async def cut_off(self, at: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(self.head + self.body[:at])
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def answer(self) -> bytes:
        """To a request of which no more comes than this."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(self.head + self.body)
        async with asyncio.timeout(SECONDS):
            answer = await reader.readuntil(b"\r\n\r\n") + await reader.readuntil(b"}")
        writer.close()
        return answer


BOUNDARY = "the-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def in_form(name: str, content: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--".encode()


def bodies() -> Iterator[tuple[str, bytes]]:
    text = b"id,name,price\n" + b"".join(b"%d,%d,2\n" % (number, number * number) for number in range(40_000))
    for ending, compress in COMPRESS.items():
        content = compress(text)
        yield "text/csv", content
        yield FORM, in_form(f"items.csv{ending}", content)


async def count_responses(stack: Stack) -> dict[str, int]:
    """How many ended with which status."""
    text = (await stack.client.get("/metrics")).text
    counted = re.compile(
        r'^millrace_http_request_seconds_count\{(?=.*/imports")(?=.*status="(\d+)").*\} ([\d.]+)$', re.MULTILINE
    )
    return {status: int(float(count)) for status, count in counted.findall(text)}


async def test_an_upload_that_is_cut_off_anywhere_leaves_no_job_and_no_file(stack: Stack) -> None:
    before = await jobs(stack), spooled(stack)
    before_responses = await count_responses(stack)
    sent = 0
    at = random.Random(7)
    for kind, body in bodies():
        for chunked in (False, True):
            request = Sent(stack, body, kind, chunked=chunked)
            places = [0, 1, len(request.body) - 1, *(at.randrange(len(request.body)) for _ in range(12))]
            await asyncio.gather(*(request.cut_off(place) for place in places))
            sent += len(places)

    async def all_told() -> bool:
        return sum((await count_responses(stack)).values()) == sum(before_responses.values()) + sent

    await eventually(all_told, SECONDS)
    assert (await count_responses(stack))["400"] == before_responses.get("400", 0) + sent
    assert (await jobs(stack), spooled(stack)) == before


@pytest.mark.parametrize("compressed", COMPRESS)
@pytest.mark.parametrize("codec", ["utf-8", "utf-16"])
@pytest.mark.parametrize("kind", ["text/csv", FORM])
async def test_a_wrong_file_is_refused_after_kilobytes(stack: Stack, kind: str, codec: str, compressed: str) -> None:
    lines = "".join(f"{number},{number * number}\n" for number in range(40_000))
    start = COMPRESS[compressed](("wrong,header\n" + lines).encode(codec))[:-100]
    if kind == FORM:
        start = in_form(f"items.csv{compressed}", start).rpartition(b"\r\n")[0]
    answer = await Sent(stack, start, kind, length=1_000_000_000).answer()
    assert b" 422 " in answer.splitlines()[0], answer
    assert b"header_mismatch" in answer


async def test_an_answer_names_what_can_be_sent(stack: Stack) -> None:
    answer = await post(stack, b"<items/>", "application/xml")
    refused(answer, 415, "unsupported_media_type")
    assert "application/x-ndjson" in answer.headers["accept-post"]
    answer = await post(stack, b"id\n", "text/csv", headers={"Content-Encoding": "br"})
    refused(answer, 415, "unsupported_encoding")
    assert answer.headers["accept-encoding"] == "gzip, zstd"
    described = (await get(stack, "/openapi.json"))["paths"]["/v1/datasets/{dataset}/imports"]["post"]
    assert set(TYPES.values()) | {"multipart/form-data"} == set(described["requestBody"]["content"])


async def test_validate_only_reports_everything_and_writes_nothing(stack: Stack) -> None:
    first = next(FIRSTS)
    content = written(".csv", first) + f"{first + 3},bad,no price,\n".encode()
    job = ended(await post(stack, content, "text/csv", validate_only="true"))
    outcome = job["outcome"]
    assert (outcome["rows_read"], outcome["checked"], outcome["failed"], outcome["inserted"]) == (4, 3, 1, 0), job
    assert [row["errors"][0]["column"] for row in await failed_rows(stack, job)] == ["price"]
    for number in range(first, first + 4):
        assert (await stack.client.get(f"/v1/datasets/items/rows/{number}")).status_code == 404


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"mode": "append"}, "mode_refused"),
        ({"mode": "merge"}, "invalid_request"),
        ({"encoding": "ebcdic"}, "invalid_request"),
        ({"max_errors": "-1"}, "invalid_request"),
        ({"max_error_rate": "1.1"}, "invalid_request"),
        ({"max_error_rate": "nan"}, "invalid_request"),
        ({"max_failed_rows": "10000001"}, "invalid_request"),
        ({"max_shrink": "2"}, "invalid_request"),
        ({"delimiter": "ab"}, "bad_delimiter"),
        ({"delimiter": "\n"}, "bad_delimiter"),
        ({"quote": "''"}, "bad_quote"),
        ({"quote": ","}, "bad_delimiter"),
    ],
)
async def test_parameters_that_can_not_be_are_422(stack: Stack, parameters: dict[str, str], code: str) -> None:
    before = await jobs(stack)
    body = refused(await post(stack, written(".csv", 1), "text/csv", **parameters), 422, code)
    assert body.get("hint") or body["errors"][0]["column"] in parameters
    assert await jobs(stack) == before


@pytest.mark.parametrize("parameters", [{"delimiter": ";"}, {"quote": "'"}, {"header": "absent"}])
async def test_options_for_cells_are_refused_where_there_are_none(stack: Stack, parameters: dict[str, str]) -> None:
    for ending, kind in ((".json", "application/json"), (".ndjson", "application/x-ndjson")):
        body = refused(await post(stack, written(ending, 1), kind, **parameters), 422, "not_csv")
        assert next(iter(parameters)) in body["detail"]


@pytest.mark.parametrize(("word", "delimiter"), [("comma", ","), ("semicolon", ";"), ("tab", "\t"), ("pipe", "|")])
async def test_a_delimiter_may_be_called_by_its_name(stack: Stack, word: str, delimiter: str) -> None:
    first = next(FIRSTS)
    text = delimiter.join(["id", "name", "price"]) + "\n" + delimiter.join([str(first), f"'a{delimiter}b'", "1"]) + "\n"
    job = ended(await post(stack, text.encode(), "text/csv", delimiter=word, quote="'"))
    assert job["outcome"]["inserted"] == 1, job
    assert (await get(stack, f"/v1/datasets/items/rows/{first}"))["name"] == f"a{delimiter}b"


async def test_an_idempotency_key_binds_to_the_rows_and_to_every_parameter(stack: Stack) -> None:
    first = next(FIRSTS)
    content = written(".csv", first)
    key = {"Idempotency-Key": f"uploads-{first}"}
    job = ended(await post(stack, content, "text/csv", headers=key))
    left = spooled(stack)
    for same in (gzip.compress(content), content.decode().encode("utf-16").replace(b"\xff\xfe", b"", 1)):
        encoding = {"encoding": "utf-16-le"} if same[:1] != b"\x1f" else {}
        answer = await post(stack, same, "text/csv", headers=key, **encoding)
        assert answer.json()["id"] == job["id"], answer.text
        assert answer.headers["idempotency-replayed"] == "true"
    for other in (
        {"mode": "insert"},
        {"validate_only": "true"},
        {"check_references": "true"},
        {"max_errors": "5"},
        {"max_error_rate": "0.5"},
        {"max_failed_rows": "5"},
        {"max_shrink": "0.1"},
    ):
        refused(await post(stack, content, "text/csv", headers=key, **other), 422, "idempotency_key_reused")
    assert spooled(stack) <= left
