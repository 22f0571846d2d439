"""`millrace sync` and `schedules`: requests and output."""

import json
from typing import Any

from tests.unit.fake_gateway import JOB, Answer, FakeGateway, accepts, job, run

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
