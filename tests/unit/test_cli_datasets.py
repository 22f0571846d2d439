"""`millrace infer` and `declare`: requests and output."""

import gzip
import json
import sys
from pathlib import Path

import pytest

from cli.datasets import SAMPLE_BYTES
from tests.unit.fake_gateway import Answer, FakeGateway, run

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

INFER = "/v1/datasets/infer"
DRAFT = {
    "name": "people",
    "declaration": {},
    "toml": 'title = "People"\n',
    "warnings": [{"code": "no_key", "column": "", "detail": "No column looks like a key.\x1b"}],
    "rows": 1234,
    "parameters": {"header": "absent", "delimiter": "|"},
}
DATASET = {
    "name": "people",
    "title": "People",
    "revision": 3,
    "version": 7,
    "declaration": {"title": "People", "fields": []},
    "links": {},
}


@pytest.fixture
def fake(fake: FakeGateway) -> FakeGateway:
    fake.answers[INFER] = [Answer(DRAFT)]
    return fake


def sent(fake: FakeGateway, path: Path, content: bytes) -> bytes:
    """Returns the request body for this content."""
    path.write_bytes(content)
    assert run("infer", str(path)).exit_code == 0
    return fake.requests[-1].body


def test_only_the_draft_is_on_standard_output(fake: FakeGateway, tmp_path: Path) -> None:
    file = tmp_path / "some people.csv.gz"
    file.write_bytes(gzip.compress(b"1|Ada\n"))
    done = run("infer", str(file), "--delimiter", "|")
    assert done.stdout == 'title = "People"\n'
    assert done.stderr == (
        "no_key: No column looks like a key.\\x1b\n"
        "Drafted from 1,234 rows. To import the file: "
        f"millrace import '{file}' -d people --header absent --delimiter '|'\n"
    )
    (request,) = fake.requests
    assert request.path == f"{INFER}?name=some+people&delimiter=%7C"
    assert request.headers["content-type"] == "text/csv"
    assert request.body == b"1|Ada\n"


def test_infer_prints_json(fake: FakeGateway) -> None:
    done = run("infer", "-", "--json", "-n", "people", input=b"id\n1\n")
    assert json.loads(done.stdout) == DRAFT
    assert fake.requests[0].path == f"{INFER}?name=people"
    assert fake.requests[0].body == b"id\n1\n"


def test_sample_of_a_long_file_has_whole_rows(fake: FakeGateway, tmp_path: Path) -> None:
    rows = b"".join(b"%d,%s\n" % (number, b"x" * 1000) for number in range(2000))
    for name, content in (("a.csv", rows), ("a.csv.gz", gzip.compress(rows)), ("a.ndjson.zst", zstd.compress(rows))):
        body = sent(fake, tmp_path / name, content)
        assert SAMPLE_BYTES - 1100 < len(body) <= SAMPLE_BYTES
        assert rows.startswith(body)
        assert body.endswith(b"x\n")
    assert fake.requests[-1].headers["content-type"] == "application/x-ndjson"


def test_sample_of_a_long_array_has_whole_elements(fake: FakeGateway, tmp_path: Path) -> None:
    rows = [{"id": number, "note": 'é"],[' * 100} for number in range(3000)]
    body = sent(fake, tmp_path / "a.json", json.dumps(rows, indent=1, ensure_ascii=False).encode())
    assert SAMPLE_BYTES - 1100 < len(body) <= SAMPLE_BYTES
    found = json.loads(body)
    assert found == rows[: len(found)]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_sample_of_a_long_utf_16_file_has_whole_rows(fake: FakeGateway, tmp_path: Path, encoding: str) -> None:
    text = "\ufeff" + "".join(f"{number},ਊ{'x' * 1000}\n" for number in range(1000))
    body = sent(fake, tmp_path / "a.csv", text.encode(encoding))
    assert text.removeprefix("\ufeff").startswith(body.decode())
    assert body.endswith(b"x\n")


@pytest.mark.parametrize("name", ["nothing.csv", "broken.csv.gz", "broken.csv.zst"])
def test_unreadable_file_is_an_error(fake: FakeGateway, tmp_path: Path, name: str) -> None:
    if name.startswith("broken"):
        (tmp_path / name).write_bytes(b"no archive")
    done = run("infer", str(tmp_path / name))
    assert done.exit_code == 1
    assert "cannot be read" in done.stderr
    assert not fake.requests


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (200, "people is declared, revision 3.\n"),
        (201, "people is declared, revision 3.\n"),
        (202, "Accepted, not applied yet. Run `millrace datasets people` to see when it is.\n"),
    ],
)
def test_declaration_is_sent_as_json(fake: FakeGateway, tmp_path: Path, status: int, message: str) -> None:
    fake.answers["/v1/datasets/people"] = [Answer(DATASET, status)]
    file = tmp_path / "people.toml"
    file.write_text('title = "People"\nfields = [{ name = "at", type = "date", minimum = 2020-01-31 }]\n')
    assert run("declare", str(file)).stdout == message
    (request,) = fake.requests
    assert json.loads(request.body) == {
        "title": "People",
        "fields": [{"name": "at", "type": "date", "minimum": "2020-01-31"}],
    }
    assert json.loads(run("declare", str(file), "--json", "-n", "people").stdout) == DATASET


def test_invalid_declaration_shows_all_errors(fake: FakeGateway, tmp_path: Path) -> None:
    problem = {
        "detail": "The declaration of people can't be used: 1 mistake.",
        "errors": [{"code": "invalid", "pointer": "#/fields", "detail": "fields: missing"}],
    }
    fake.answers["/v1/datasets/people"] = [Answer(problem, 422)]
    (tmp_path / "people.toml").write_text('title = "People"\n')
    done = run("declare", str(tmp_path / "people.toml"))
    assert (done.exit_code, done.stderr.splitlines()[1]) == (1, "  #/fields: fields: missing")


@pytest.mark.parametrize("content", [b"title = ", b"\xff"])
def test_invalid_toml_is_not_sent(fake: FakeGateway, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "people.toml").write_bytes(content)
    done = run("declare", str(tmp_path / "people.toml"))
    assert done.exit_code == 1
    assert "cannot be read as TOML" in done.stderr
    assert not fake.requests
