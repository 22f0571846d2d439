"""Fake gateway that sends prepared responses over real connections."""

import json
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from click.testing import CliRunner, Result

from cli.app import main

JOB = "0192f5a0-0000-7000-8000-000000000001"


class Answer(NamedTuple):
    body: Any = b""
    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    lost: bool = False


class Request(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


class FakeGateway(ThreadingHTTPServer):
    """Sends the responses of a path in order, and the last one for ever. Records the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list[Answer]] = defaultdict(list)
        self.requests: list[Request] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def requests_to(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path.partition("?")[0] == path]


class Handler(BaseHTTPRequestHandler):
    server: FakeGateway

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self._body())

    def do_PUT(self) -> None:
        self._answer(self._body())

    def log_message(self, *_: object) -> None:
        pass

    def _body(self) -> bytes:
        if "content-length" in self.headers:
            return self.rfile.read(int(self.headers["content-length"]))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _answer(self, body: bytes) -> None:
        self.server.requests.append(Request(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        answers = self.server.answers[self.path] or self.server.answers[self.path.partition("?")[0]]
        answer = answers.pop(0) if len(answers) > 1 else answers[0] if answers else Answer(status=404)
        if answer.lost:
            return
        content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def job(status: str, *, percent: float = 100.0, error: Any = None, **outcome: int) -> dict[str, Any]:
    counts = {"rows_read": 0, "inserted": 0, "updated": 0, "unchanged": 0, "duplicates": 0, "failed": 0, **outcome}
    moment = "2024-05-06T07:08:09Z"
    progress = {
        "bytes_total": 1000,
        "bytes_done": 1000,
        "rows_read": counts["rows_read"],
        "rows_written": counts["inserted"],
        "rows_failed": counts["failed"],
        "percent": percent,
        "rows_per_second": 1234.5,
        "eta_seconds": None,
    }
    return {
        "id": JOB,
        "kind": "import",
        "dataset": "people",
        "status": status,
        "phase": "load",
        "progress": progress,
        "outcome": counts,
        "error": error,
        "created_at": moment,
        "started_at": moment,
        "finished_at": moment if status in ("succeeded", "partial", "failed", "canceled") else None,
        "links": {},
    }


def events(*jobs: dict[str, Any], first: int = 1) -> Answer:
    text = "retry: 1000\n\n: still here\n\n"
    for number, body in enumerate(jobs, first):
        data = json.dumps({"id": number, "type": "job.progress", "job": body}, ensure_ascii=False)
        text += f"id: {number}\nevent: job.progress\ndata: {data}\n\n"
    return Answer(text.encode(), headers={"Content-Type": "text/event-stream"})


SUBMIT = "/v1/datasets/people/imports"
ROW_ERROR = {"code": "required", "column": "name", "value": None, "detail": "A value is required."}


def run(*arguments: str, **options: Any) -> Result:
    """Runs a command."""
    return CliRunner().invoke(main, arguments, **options)


def accepts(fake: FakeGateway, *, ends: dict[str, Any]) -> None:
    """Prepares an import, or another job, that ends like this."""
    fake.answers[SUBMIT] = [Answer(job("queued", percent=0.0), 202)]
    fake.answers[f"/v1/jobs/{JOB}/events"] = [events(job("running", percent=50.0), ends)]
    fake.answers[f"/v1/jobs/{JOB}"] = [Answer(ends)]
    rows = [{"id": 1, "line": 7, "raw": "6,", "errors": [ROW_ERROR], "state": "open"}]
    fake.answers[f"/v1/jobs/{JOB}/failed-rows"] = [failed_rows(rows)]


def failed_rows(rows: list[dict[str, Any]], following: int | None = None) -> Answer:
    counts = [{"code": "required", "column": "name", "rows": 1200}, {"code": "row_length", "column": "", "rows": 34}]
    return Answer({"data": rows, "next": following, "total": 1234, "kept": 1000, "counts": counts})
