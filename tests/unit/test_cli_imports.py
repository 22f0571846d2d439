"""`millrace import`: requests, output, progress, exit codes."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from cli import upload
from cli.errors import GatewayUnavailable
from cli.gateway import Gateway
from cli.progress import Lines
from tests.unit.fake_gateway import JOB, SUBMIT, Answer, FakeGateway, accepts, job, run


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        (job("succeeded", rows_read=3, inserted=3), 0),
        (job("partial", rows_read=3, inserted=2, failed=1), 3),
        (job("failed", error={"code": "all_rows_failed", "detail": "None of the rows could be loaded."}), 4),
    ],
)
def test_exit_code_is_the_status_of_the_job(fake: FakeGateway, people: str, ends: dict[str, Any], code: int) -> None:
    accepts(fake, ends=ends)
    assert run("import", people, "-d", "people").exit_code == code
    assert run("import", people, "-d", "people", "--json").exit_code == code


def test_import_uploads_the_file_unchanged_with_key_and_options(fake: FakeGateway, people: str) -> None:
    accepts(fake, ends=job("succeeded"))
    run("import", people, "-d", "people", "--delimiter", ";", "--header", "present")
    (request,) = fake.requests_to(SUBMIT)
    assert request.path == f"{SUBMIT}?delimiter=%3B&header=present"
    assert request.body == Path(people).read_bytes()
    assert request.headers["content-type"] == "text/csv"
    assert request.headers["authorization"] == "Bearer secret"
    assert request.headers["content-length"] == str(len(request.body))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", "text/csv"),
        ("a.csv.gz", "text/csv"),
        ("A.TSV.ZST", "text/tab-separated-values"),
        ("a.ndjson", "application/x-ndjson"),
        ("a.b.jsonl.gz", "application/x-ndjson"),
        ("a.json", "application/json"),
        ("a", "text/csv"),
    ],
)
def test_content_type_follows_the_file_name(fake: FakeGateway, tmp_path: Path, name: str, kind: str) -> None:
    accepts(fake, ends=job("succeeded"))
    (tmp_path / name).write_bytes(b"\x1f\x8b\x08 content")
    run("import", str(tmp_path / name), "-d", "people")
    (request,) = fake.requests_to(SUBMIT)
    assert (request.path, request.body) == (SUBMIT, b"\x1f\x8b\x08 content")
    assert request.headers["content-type"] == kind
    assert "content-encoding" not in request.headers


def test_options_become_query_parameters(fake: FakeGateway, people: str) -> None:
    accepts(fake, ends=job("succeeded"))
    flags = ["--validate-only", "--check-references"]
    values = ["--mode", "replace", "--encoding", "latin-1", "--quote", "'", "--max-errors", "0"]
    assert run("import", people, "-d", "people", *flags, *values, "--max-error-rate", "0.05").exit_code == 0
    (request,) = fake.requests_to(SUBMIT)
    assert dict(parse_qsl(urlsplit(request.path).query)) == {
        "validate_only": "true",
        "check_references": "true",
        "mode": "replace",
        "encoding": "latin-1",
        "quote": "'",
        "max_errors": "0",
        "max_error_rate": "0.05",
    }


def test_partial_job_shows_outcome_and_first_failed_rows(fake: FakeGateway, people: str) -> None:
    accepts(fake, ends=job("partial", rows_read=12_009, inserted=12_000, failed=9))
    shown = run("import", people, "-d", "people").stdout
    assert "12,009    12,000" in shown
    assert "   7  name    A value is required." in shown
    assert f"4 more. All: millrace failed {JOB}" in shown


def test_unchanged_rows_are_reported(fake: FakeGateway, people: str) -> None:
    accepts(fake, ends=job("succeeded", rows_read=5, unchanged=5))
    assert "Nothing changed" in run("import", people, "-d", "people").stdout


def test_checked_and_deleted_rows_are_shown_if_there_are_any(fake: FakeGateway, people: str) -> None:
    accepts(fake, ends=job("succeeded", rows_read=5, checked=5))
    assert "0       0        5\n" in run("import", people, "-d", "people").stdout
    accepts(fake, ends=job("succeeded", rows_read=5, inserted=5, deleted=1_234))
    shown = run("import", people, "-d", "people").stdout
    assert "DELETED" in shown
    assert "0    1,234\n" in shown
    assert "CHECKED" not in shown


def test_failed_job_shows_error_and_hint(fake: FakeGateway, people: str) -> None:
    cause = {"code": "file_missing", "detail": "The file is gone.", "hint": "Import it again."}
    accepts(fake, ends=job("failed", error=cause))
    shown = run("import", people, "-d", "people").stdout
    assert "The file is gone.\nHint: Import it again.\n" in shown


def test_json_is_the_only_thing_on_standard_output(fake: FakeGateway, people: str) -> None:
    ends = job("partial", rows_read=1, failed=1)
    accepts(fake, ends=ends)
    assert json.loads(run("import", people, "-d", "people", "--json").stdout) == ends


def test_no_wait_returns_when_accepted(fake: FakeGateway, people: str) -> None:
    accepts(fake, ends=job("failed"))
    done = run("import", people, "-d", "people", "--no-wait")
    assert done.exit_code == 0
    assert f"millrace jobs {JOB}" in done.stdout
    assert not fake.requests_to(f"/v1/jobs/{JOB}/events")


def test_output_without_terminal_is_plain(fake: FakeGateway, people: str) -> None:
    accepts(fake, ends=job("partial", rows_read=2, inserted=1, failed=1))
    done = run("import", people, "-d", "people")
    assert not {char for char in done.output if not char.isprintable()} - {"\n"}
    assert "upload people.csv: 600.0 kB of 600.0 kB\n" in done.stderr
    assert "partial 100.0 %: 1.0 kB of 1.0 kB, 2 rows read, 1 written, 1 failed, 1,234 rows/s\n" in done.stderr


def test_lines_come_once_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines("people.csv")
    for done in range(1001):
        lines.show_upload(done, 1000)
    assert capsys.readouterr().err == "upload people.csv: 1.0 kB of 1.0 kB\n"


def test_bars_on_a_terminal(fake: FakeGateway, people: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    accepts(fake, ends=job("succeeded", rows_read=2, inserted=2))
    shown = run("import", people, "-d", "people").stderr
    assert "━━━━" in shown
    assert "2 rows read, 2 written, 0 failed" in shown


def test_lost_response_is_retried_with_the_same_key(fake: FakeGateway, people: str) -> None:
    accepts(fake, ends=job("succeeded"))
    fake.answers[SUBMIT] = [Answer(lost=True), Answer(status=503), Answer(job("queued", percent=0.0), 202)]
    assert run("import", people, "-d", "people").exit_code == 0
    sent = fake.requests_to(SUBMIT)
    assert len(sent) == 3
    assert len({request.headers["idempotency-key"] for request in sent}) == 1
    assert {request.body for request in sent} == {Path(people).read_bytes()}
    run("import", people, "-d", "people")
    assert fake.requests_to(SUBMIT)[-1].headers["idempotency-key"] != sent[0].headers["idempotency-key"]


def test_upload_from_a_pipe_is_not_retried(fake: FakeGateway) -> None:
    fake.answers[SUBMIT] = [Answer(lost=True)]
    end, start = os.pipe()
    os.write(start, b"1,Ada\n")
    os.close(start)
    with os.fdopen(end, "rb") as file, Gateway.find() as gateway, pytest.raises(GatewayUnavailable):
        upload.upload(gateway, file, "-", "people", {}, Lines("-"))
    assert [request.body for request in fake.requests_to(SUBMIT)] == [b"1,Ada\n"]


def test_standard_input(fake: FakeGateway) -> None:
    accepts(fake, ends=job("succeeded"))
    assert run("import", "-", "-d", "people", input=b"1,Ada\n").exit_code == 0
    assert fake.requests_to(SUBMIT)[0].body == b"1,Ada\n"


def test_missing_file(fake: FakeGateway) -> None:
    done = run("import", "nowhere.csv", "-d", "people")
    assert done.exit_code == 1
    assert done.stderr == "Error: nowhere.csv cannot be read: No such file or directory.\n"
    assert not fake.requests
