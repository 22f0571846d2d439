"""The connection to the gateway: address, key, errors, events."""

from pathlib import Path

import pytest

from cli import follow
from cli.errors import GatewayUnavailable
from cli.gateway import Gateway
from cli.tables import printable
from tests.unit.fake_gateway import JOB, SUBMIT, Answer, FakeGateway, accepts, events, job, run


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
