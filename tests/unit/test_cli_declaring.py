"""`millrace infer` and `millrace declare`: what they send, and what they show."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.declaring import COMMANDS, SAMPLE_BYTES
from tests.unit.fake_gateway import Answer, Fake

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
def fake(fake: Fake) -> Fake:
    fake.answers[INFER] = [Answer(DRAFT)]
    return fake


def run(*arguments: str, **given: Any) -> Result:
    commands = {command.name: command for command in COMMANDS}
    return CliRunner().invoke(commands[arguments[0]], arguments[1:], **given)


def sent(fake: Fake, path: Path, content: bytes) -> bytes:
    """What the gateway gets to see of the file."""
    path.write_bytes(content)
    assert run("infer", str(path)).exit_code == 0
    return fake.asked[-1].body


def test_the_draft_alone_is_on_standard_output(fake: Fake, tmp_path: Path) -> None:
    file = tmp_path / "some people.csv.gz"
    file.write_bytes(gzip.compress(b"1|Ada\n"))
    done = run("infer", str(file), "--delimiter", "|")
    assert done.stdout == 'title = "People"\n'
    assert done.stderr == (
        "no_key: No column looks like a key.\\x1b\n"
        "Learnt from 1,234 rows. To import it: "
        f"millrace import '{file}' -d people --header absent --delimiter '|'\n"
    )
    (asked,) = fake.asked
    assert asked.path == f"{INFER}?name=some+people&delimiter=%7C"
    assert asked.headers["content-type"] == "text/csv"
    assert asked.body == b"1|Ada\n"


def test_the_answer_can_be_had_as_it_is(fake: Fake) -> None:
    done = run("infer", "-", "--json", "-n", "people", input=b"id\n1\n")
    assert json.loads(done.stdout) == DRAFT
    assert fake.asked[0].path == f"{INFER}?name=people"
    assert fake.asked[0].body == b"id\n1\n"


def test_of_a_long_file_whole_rows_are_sent(fake: Fake, tmp_path: Path) -> None:
    rows = b"".join(b"%d,%s\n" % (number, b"x" * 1000) for number in range(2000))
    for name, content in (("a.csv", rows), ("a.csv.gz", gzip.compress(rows)), ("a.ndjson.zst", zstd.compress(rows))):
        body = sent(fake, tmp_path / name, content)
        assert SAMPLE_BYTES - 1100 < len(body) <= SAMPLE_BYTES
        assert rows.startswith(body)
        assert body.endswith(b"x\n")
    assert fake.asked[-1].headers["content-type"] == "application/x-ndjson"


def test_of_a_long_array_whole_elements_are_sent(fake: Fake, tmp_path: Path) -> None:
    rows = [{"id": number, "note": 'é"],[' * 100} for number in range(3000)]
    body = sent(fake, tmp_path / "a.json", json.dumps(rows, indent=1, ensure_ascii=False).encode())
    assert SAMPLE_BYTES - 1100 < len(body) <= SAMPLE_BYTES
    found = json.loads(body)
    assert found == rows[: len(found)]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_of_a_long_file_in_utf_16_whole_rows_are_sent(fake: Fake, tmp_path: Path, encoding: str) -> None:
    text = "\ufeff" + "".join(f"{number},ਊ{'x' * 1000}\n" for number in range(1000))
    body = sent(fake, tmp_path / "a.csv", text.encode(encoding))
    assert text.removeprefix("\ufeff").startswith(body.decode())
    assert body.endswith(b"x\n")


@pytest.mark.parametrize("name", ["nothing.csv", "broken.csv.gz", "broken.csv.zst"])
def test_what_can_not_be_read_is_said(fake: Fake, tmp_path: Path, name: str) -> None:
    if name.startswith("broken"):
        (tmp_path / name).write_bytes(b"no archive")
    done = run("infer", str(tmp_path / name))
    assert done.exit_code == 1
    assert "can't be read" in done.stderr
    assert not fake.asked


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (200, "people stands as declared, at revision 3.\n"),
        (201, "people stands as declared, at revision 3.\n"),
        (202, "Accepted, but not applied yet: `millrace datasets people` tells when it stands.\n"),
    ],
)
def test_a_file_is_put_as_json(fake: Fake, tmp_path: Path, status: int, said: str) -> None:
    fake.answers["/v1/datasets/people"] = [Answer(DATASET, status)]
    file = tmp_path / "people.toml"
    file.write_text('title = "People"\nfields = [{ name = "at", type = "date", minimum = 2020-01-31 }]\n')
    assert run("declare", str(file)).stdout == said
    (asked,) = fake.asked
    assert json.loads(asked.body) == {
        "title": "People",
        "fields": [{"name": "at", "type": "date", "minimum": "2020-01-31"}],
    }
    assert json.loads(run("declare", str(file), "--json", "-n", "people").stdout) == DATASET


def test_a_refused_declaration_tells_all_mistakes(fake: Fake, tmp_path: Path) -> None:
    problem = {
        "detail": "The declaration of people can't be used: 1 mistake.",
        "errors": [{"code": "invalid", "pointer": "#/fields", "detail": "fields: missing"}],
    }
    fake.answers["/v1/datasets/people"] = [Answer(problem, 422)]
    (tmp_path / "people.toml").write_text('title = "People"\n')
    done = run("declare", str(tmp_path / "people.toml"))
    assert (done.exit_code, done.stderr.splitlines()[1]) == (1, "  #/fields: fields: missing")


@pytest.mark.parametrize("content", [b"title = ", b"\xff"])
def test_what_is_no_toml_is_not_put(fake: Fake, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "people.toml").write_bytes(content)
    done = run("declare", str(tmp_path / "people.toml"))
    assert done.exit_code == 1
    assert "can't be read as TOML" in done.stderr
    assert not fake.asked
