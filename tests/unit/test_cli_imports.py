"""Commands about jobs, failed rows and sources, and the connection to the gateway: requests, output, exit codes."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from click.testing import CliRunner, Result

from cli import follow, upload
from cli.app import main
from cli.errors import GatewayUnavailable
from cli.gateway import Gateway
from cli.progress import Lines
from cli.tables import printable
from tests.unit.fake_gateway import JOB, Answer, FakeGateway, events, job

SUBMIT = "/v1/datasets/people/imports"
ROW_ERROR = {"code": "required", "column": "name", "value": None, "detail": "A value is required."}


@pytest.fixture
def people(tmp_path: Path) -> str:
    file = tmp_path / "people.csv"
    file.write_bytes(b"id,name\n" + b"1,Ada\n" * 100_000)
    return str(file)


def run(*arguments: str, **given: Any) -> Result:
    return CliRunner().invoke(main, arguments, **given)


def accepts(fake: FakeGateway, *, ends: dict[str, Any]) -> None:
    fake.answers[SUBMIT] = [Answer(job("queued", percent=0.0), 202)]
    fake.answers[f"/v1/jobs/{JOB}/events"] = [events(job("running", percent=50.0), ends)]
    fake.answers[f"/v1/jobs/{JOB}"] = [Answer(ends)]
    rows = [{"id": 1, "line": 7, "raw": "6,", "errors": [ROW_ERROR], "state": "open"}]
    fake.answers[f"/v1/jobs/{JOB}/failed-rows"] = [failed_rows(rows)]


def failed_rows(rows: list[dict[str, Any]], following: int | None = None) -> Answer:
    counts = [{"code": "required", "column": "name", "rows": 1200}, {"code": "row_length", "column": "", "rows": 34}]
    return Answer({"data": rows, "next": following, "total": 1234, "kept": 1000, "counts": counts})


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


def test_problem_is_shown_with_errors_hint_and_request_id(fake: FakeGateway, people: str) -> None:
    problem = {
        "status": 422,
        "code": "header_mismatch",
        "detail": "The header line doesn't fit.",
        "errors": [{"code": "unknown_column", "line": 1, "column": "nmae", "detail": "Did you mean name?"}],
        "hint": "Say header=absent.",
        "request_id": "r-1",
    }
    fake.answers[SUBMIT] = [Answer(problem, 422, {"Content-Type": "application/problem+json"})]
    done = run("import", people, "-d", "people")
    assert done.exit_code == 1
    assert done.stderr.endswith(
        "Error: The header line doesn't fit.\n  line 1, column nmae: Did you mean name?\n"
        "Hint: Say header=absent.\nrequest_id: r-1\n"
    )
    assert len(fake.requests_to(SUBMIT)) == 1


def test_response_that_is_not_of_millrace_is_an_error(fake: FakeGateway) -> None:
    fake.answers["/v1/jobs"] = [Answer(b"<html>", 404), Answer(b"<html>", 200)]
    for _ in range(2):
        done = run("jobs")
        assert done.exit_code == 1
        assert "check MILLRACE_URL" in done.stderr


@pytest.mark.usefixtures("fake")
def test_unreachable_gateway_is_an_error(people: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeGateway() as closed:
        monkeypatch.setenv("MILLRACE_URL", closed.url)
    for arguments in (("jobs",), ("import", people, "-d", "people")):
        done = run(*arguments)
        assert done.exit_code == 1
        assert "does not answer" in done.stderr


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


def test_interrupted_event_stream_continues_after_the_last_event(fake: FakeGateway, people: str) -> None:
    accepts(fake, ends=job("succeeded"))
    going = job("running", percent=50.0)
    fake.answers[f"/v1/jobs/{JOB}/events"] = [
        events(going, going),
        Answer(lost=True),
        events(job("succeeded"), first=3),
    ]
    fake.answers[f"/v1/jobs/{JOB}"] = [Answer(lost=True), Answer(status=502), Answer(going)]
    done = run("import", people, "-d", "people")
    assert done.exit_code == 0
    assert [request.headers.get("last-event-id") for request in fake.requests_to(f"/v1/jobs/{JOB}/events")] == [
        None,
        "2",
        "2",
    ]


def test_without_events_the_job_is_polled(fake: FakeGateway, people: str) -> None:
    accepts(fake, ends=job("succeeded"))
    fake.answers[f"/v1/jobs/{JOB}/events"] = [Answer(status=404)]
    fake.answers[f"/v1/jobs/{JOB}"] = [Answer(job("running", percent=9.0)), Answer(job("partial"))]
    assert run("import", people, "-d", "people").exit_code == 3
    assert all(request.headers["prefer"] == "wait=2" for request in fake.requests_to(f"/v1/jobs/{JOB}"))


def test_follow_gives_up_and_says_that_the_job_continues(
    fake: FakeGateway, people: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "PATIENCE_SECONDS", 0.0)
    accepts(fake, ends=job("succeeded"))
    fake.answers[f"/v1/jobs/{JOB}/events"] = fake.answers[f"/v1/jobs/{JOB}"] = [Answer(lost=True)]
    done = run("import", people, "-d", "people")
    assert done.exit_code == 1
    assert f"The job continues. Run `millrace jobs {JOB}`" in done.stderr


HERE = f"/v1/jobs/{JOB}/failed-rows"


def test_failed_rows_as_csv(fake: FakeGateway) -> None:
    fake.answers[f"{HERE}?code=type&state=open&format=csv"] = [Answer(b"id,_line\r\n1,2\r\n3,4\r\n")]
    done = run("failed", JOB, "--csv", "--code", "type", "--state", "open")
    assert done.stdout_bytes == b"id,_line\r\n1,2\r\n3,4\r\n"


def test_interrupted_csv_is_an_error(fake: FakeGateway) -> None:
    fake.answers[f"{HERE}?format=csv"] = [Answer(b"id,_line\r\n1,2\r\n", headers={"Content-Length": "1000"})]
    done = run("failed", JOB, "--csv")
    assert done.exit_code == 1
    assert "does not answer" in done.stderr


def test_failed_rows_come_after_their_counts(fake: FakeGateway) -> None:
    fake.answers[HERE] = [failed_rows([{"line": 2, "raw": "\x1b[31m,[red]\n", "errors": [ROW_ERROR]}], 5)]
    shown = run("failed", JOB, "--limit", "1", "--column", "name").stdout.splitlines()
    assert [line.split() for line in shown[:3]] == [
        ["ROWS", "CODE", "COLUMN"],
        ["1,200", "required", "name"],
        ["34", "row_length"],
    ]
    assert shown[3] == "Failed rows: 1,234, 1,000 of them stored."
    assert shown[6].endswith(r"A value is required.  \x1b[31m,[red]\n")
    assert "There are more" in shown[7]
    assert fake.requests[0].path == f"{HERE}?column=name&limit=1"


def test_more_failed_rows_than_a_page(fake: FakeGateway) -> None:
    rows = [{"line": number, "raw": "6,", "errors": [ROW_ERROR]} for number in range(1000)]
    fake.answers[f"{HERE}?limit=1000"] = [failed_rows(rows, 77)]
    fake.answers[f"{HERE}?after=77&limit=500"] = [failed_rows(rows[:500])]
    shown = run("failed", JOB, "--limit", "1500").stdout
    assert shown.count("A value is required.") == 1500
    assert "There are more" not in shown


def test_no_failed_row(fake: FakeGateway) -> None:
    fake.answers[HERE] = [Answer({"data": [], "next": None, "total": 0, "kept": 0, "counts": []})]
    assert run("failed", JOB).stdout == "No row failed.\n"


def test_replay_follows_the_new_job(fake: FakeGateway) -> None:
    ends = job("partial", rows_read=3, inserted=2, failed=1)
    accepts(fake, ends={**ends, "warning": {"code": "rows_left_out", "detail": "4 failed rows stay open."}})
    fake.answers["/v1/jobs/old/replay"] = [Answer(lost=True), Answer(job("queued", percent=0.0), 202)]
    done = run("replay", "old", "--code", "reference")
    assert done.exit_code == 3
    lost, request = fake.requests_to("/v1/jobs/old/replay")
    assert json.loads(request.body) == {"code": "reference", "column": None}
    assert request.headers["idempotency-key"] == lost.headers["idempotency-key"]
    assert "Warning: 4 failed rows stay open." in done.stdout
    assert "partial 100.0 %" in done.stderr
    assert "upload" not in done.stderr


def test_bars_of_a_replay_have_no_upload(fake: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    accepts(fake, ends=job("succeeded", rows_read=2, inserted=2))
    fake.answers["/v1/jobs/old/replay"] = [Answer(job("queued", percent=0.0), 202)]
    shown = run("replay", "old").stderr
    assert "2 rows read, 2 written, 0 failed" in shown
    assert "upload" not in shown


def test_nothing_to_replay(fake: FakeGateway) -> None:
    problem = {"status": 409, "code": "nothing_to_replay", "detail": "No open failed row of this job fits."}
    fake.answers[f"/v1/jobs/{JOB}/replay"] = [Answer(problem, 409)]
    done = run("replay", JOB)
    assert (done.exit_code, done.stderr) == (1, "Error: No open failed row of this job fits.\n")


@pytest.mark.parametrize(("discarded", "message"), [(1234, "Discarded rows: 1,234."), (None, "not done yet")])
def test_discard(fake: FakeGateway, discarded: int | None, message: str) -> None:
    fake.answers[f"{HERE}/discard"] = [Answer({"discarded": discarded}, 200 if discarded else 202)]
    done = run("discard", JOB, "--column", "name")
    assert done.exit_code == 0
    assert message in done.stdout
    assert json.loads(fake.requests[0].body) == {"code": None, "column": "name"}


def test_report_keeps_numbers_exact(fake: FakeGateway) -> None:
    fake.answers["/v1/reports/stock"] = [
        Answer(b'{"data":[{"kind":"rye","sum":1.10}],"columns":["kind","sum"],"computed_at":"2024-05-06T07:08:09Z"}')
    ]
    assert "rye   1.10\n" in run("report", "stock", "year=2021").stdout
    assert fake.requests[0].path == "/v1/reports/stock?year=2021&format=json"
    assert run("report", "stock", "year").exit_code == 2


def test_local_address_and_key_come_from_the_state_folder(
    fake: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    monkeypatch.delenv("MILLRACE_KEY")
    monkeypatch.delenv("MILLRACE_URL")
    assert run("jobs").stderr == (
        "Error: The stack is not running: run `millrace up` (or set MILLRACE_URL and MILLRACE_KEY).\n"
    )
    (tmp_path / "env").write_text(f"DATABASE_URL='postgresql://x'\nGATEWAY_URL='{fake.url}'\n")
    (tmp_path / "api-key").write_text("local\n")
    fake.answers["/v1/jobs"] = [Answer({"data": [], "next": None})]
    assert run("jobs").exit_code == 0
    assert fake.requests[-1].headers["authorization"] == "Bearer local"


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://gateway:port"])
def test_invalid_address_is_an_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_URL", url)
    assert (
        run("jobs").stderr == f"Error: MILLRACE_URL must be an HTTP address like http://127.0.0.1:8000, not {url!r}.\n"
    )


def test_local_key_is_not_sent_to_another_gateway(
    fake: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    monkeypatch.delenv("MILLRACE_KEY")
    (tmp_path / "env").write_text("GATEWAY_URL='http://127.0.0.1:8000'\n")
    (tmp_path / "api-key").write_text("local\n")
    done = run("jobs")
    assert done.exit_code == 1
    assert "set MILLRACE_KEY" in done.stderr
    assert not fake.requests


def test_incomplete_and_empty_events_are_skipped(fake: FakeGateway) -> None:
    stream = "retry: 1\n\n: hi\n\nid: 4\nevent: job\ndata: a\u2028b\n\nevent: end\ndata: {}\n\nid: 5\ndata: cut off"
    fake.answers[f"/v1/jobs/{JOB}/events"] = [Answer(stream.encode(), headers={"Content-Type": "text/event-stream"})]
    with Gateway.find() as gateway:
        events = [(event.id, event.event, event.data) for event in gateway.events(JOB, after="3")]
    assert events == [("4", "job", "a\u2028b"), ("4", "end", "{}")]
    (request,) = fake.requests
    assert request.headers["last-event-id"] == "3"


def test_html_instead_of_events_is_an_error(fake: FakeGateway) -> None:
    """A proxy may send it; the job is polled instead."""
    fake.answers[f"/v1/jobs/{JOB}/events"] = [Answer(b"<html>", headers={"Content-Type": "text/html"})]
    with Gateway.find() as gateway, pytest.raises(GatewayUnavailable, match="text/event-stream"):
        list(gateway.events(JOB, after=""))


def test_printable() -> None:
    assert printable("Zoë\t\x1b[0m\u2028") == "Zoë\\t\\x1b[0m\\u2028"


SYNCS = "/v1/datasets/people/syncs"


def pulls(fake: FakeGateway, *, ends: dict[str, Any], headers: dict[str, str] | None = None) -> None:
    accepts(fake, ends=ends)
    fake.answers[SYNCS] = [Answer(job("queued", percent=0.0), 202, headers or {})]


def test_sync_is_followed_to_its_end(fake: FakeGateway) -> None:
    for ends, code in ((job("succeeded", rows_read=2, inserted=2), 0), (job("partial", rows_read=2, failed=1), 3)):
        pulls(fake, ends=ends)
        done = run("sync", "-d", "people", "crm")
        assert (done.exit_code, ends["status"] in done.stdout) == (code, True)
    assert [json.loads(request.body) for request in fake.requests_to(SYNCS)] == [{"source": "crm"}] * 2
    assert len({request.headers["idempotency-key"] for request in fake.requests_to(SYNCS)}) == 2


def test_sync_without_source_and_without_waiting(fake: FakeGateway) -> None:
    pulls(fake, ends=job("succeeded"))
    done = run("sync", "-d", "people", "--no-wait")
    assert (done.exit_code, done.stdout) == (
        0,
        f"Accepted as job {JOB}. Run `millrace jobs {JOB}` to see its status.\n",
    )
    assert fake.requests_to(f"/v1/jobs/{JOB}/events") == []
    assert [json.loads(request.body) for request in fake.requests_to(SYNCS)] == [{}]


def test_lost_response_to_a_sync_is_retried_with_the_same_key(fake: FakeGateway) -> None:
    pulls(fake, ends=job("succeeded"))
    fake.answers[SYNCS].insert(0, Answer(lost=True))
    assert run("sync", "-d", "people").exit_code == 0
    assert len(fake.requests_to(SYNCS)) == 2
    assert len({request.headers["idempotency-key"] for request in fake.requests_to(SYNCS)}) == 1


def test_running_sync_is_reported(fake: FakeGateway) -> None:
    pulls(fake, ends=job("succeeded"), headers={"Millrace-Attached": "true"})
    done = run("sync", "-d", "people", "--json")
    assert "already running" in done.stderr
    assert json.loads(done.stdout)["id"] == JOB
    pulls(fake, ends=job("succeeded"))
    assert "already running" not in run("sync", "-d", "people").stderr


def test_schedules_are_listed_with_their_last_ticks(fake: FakeGateway) -> None:
    ticks = [
        {"due_at": "2024-05-07T00:00:00Z", "fate": "skipped", "job_id": JOB, "links": {}},
        {"due_at": "2024-05-06T00:00:00Z", "fate": "missed", "job_id": None, "links": {}},
    ]
    nightly = {
        "dataset": "people",
        "source": "crm",
        "cron": "0 0 * * *",
        "timezone": "Europe/Berlin",
        "overlap": "skip",
        "catch_up_seconds": 3600,
        "next_at": "2024-05-08T22:00:00Z",
        "ticks": ticks,
        "links": {},
    }
    fake.answers["/v1/schedules"] = [Answer({"data": [nightly]})]
    shown = run("schedules").stdout.splitlines()[-1]
    assert shown.split("  ")[0] == "people"
    for part in ("crm", "0 0 * * *", "Europe/Berlin", "2024-05-08 22:00:00", "05-07 00:00 skipped, 05-06 00:00 missed"):
        assert part in shown
    assert json.loads(run("schedules", "--json").stdout) == {"data": [nightly]}
    fake.answers["/v1/schedules"] = [Answer({"data": []})]
    assert "No source declares a schedule" in run("schedules").stdout
