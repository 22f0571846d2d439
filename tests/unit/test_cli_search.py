"""`millrace search`: requests and output."""

import json
from typing import Any

import pytest
from rich.text import Text

from cli import search_results
from tests.unit.fake_gateway import JOB, Answer, FakeGateway, events, job, run

DATASET = {
    "name": "people",
    "title": "People",
    "revision": 1,
    "version": 1,
    "declaration": {"fields": [], "search": {"fields": ["name", "note"], "language": "english"}},
}
HERE = "/v1/datasets/people/search"
META = {"corrections": [], "detail": ""}


def found(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    data = [{"row": row, "score": 0.5, "highlight": {}} for row in rows]
    return {"data": data, "total": {"value": len(rows), "relation": "eq"}, "facets": {}, "meta": META, **more}


@pytest.fixture
def people(fake: FakeGateway) -> FakeGateway:
    fake.answers["/v1/datasets/people"] = [Answer(DATASET)]
    fake.answers[HERE] = [Answer(found({"id": 1, "name": "Ada", "note": None}))]
    return fake


def sent_body(people: FakeGateway, *arguments: str) -> Any:
    assert run("search", "people", *arguments).exit_code == 0
    return json.loads(people.requests_to(HERE)[-1].body)


def test_rows_are_shown_without_empty_columns(people: FakeGateway) -> None:
    total = {"value": 2000, "relation": "gte"}
    people.answers[HERE] = [Answer(found({"id": 1, "name": "Ada", "note": None}, total=total)), Answer(found())]
    assert run("search", "people", "ada").stdout == "SCORE  id  name\n  0.5   1  Ada\n1 of at least 2,000\n"
    assert run("search", "people", "zoe").stdout == "Nothing matches.\n"


def test_rows_that_are_ordered_have_no_score(people: FakeGateway) -> None:
    answer = found({"id": 2}, {"id": 1})
    for hit in answer["data"]:
        hit["score"] = 0.0
    people.answers[HERE] = [Answer(answer)]
    assert run("search", "people", "--sort", "id.desc").stdout == "id\n 2\n 1\n2 of 2\n"


def test_options_become_the_request(people: FakeGateway) -> None:
    plain = {"q": "ada", "words": [], "operator": "and", "filters": {}, "facets": [], "limit": 10}
    assert sent_body(people, "ada") == {**plain, "highlight": ["name", "note"]}
    filters = ["--filter", "price=gte.10", "--filter", "price=lt.20", "--filter", "name=eq.a=b"]
    more = sent_body(people, *filters, "--sort", "price.desc", "--facets", "kind, maker", "--limit", "3")
    assert more["filters"] == {"price": ["gte.10", "lt.20"], "name": ["eq.a=b"]}
    assert (more["q"], more["sort"], more["facets"], more["limit"]) == ("", "price.desc", ["kind", "maker"], 3)
    exact = sent_body(people, "--exact", "one", "--exact", "two", "--or")
    assert (exact["words"], exact["operator"]) == (["one", "two"], "or")


@pytest.mark.parametrize(
    ("wrong", "message"), [(["--filter", "price"], "FIELD=CONDITION"), (["ada", "--or"], "--exact"), ([], "DATASET")]
)
def test_invalid_options_send_no_request(people: FakeGateway, wrong: list[str], message: str) -> None:
    done = run("search", *(["people", *wrong] if wrong else []))
    assert done.exit_code == 2
    assert message in done.stderr
    assert people.requests == []


def test_marked_words_are_bold_and_html_is_unescaped() -> None:
    text = search_results.highlighted(["a &lt;b&gt; <mark>R&amp;D</mark>…", "…<mark>x</mark>\x1b[0m"])
    assert text.plain == "a <b> R&D… …x\\x1b[0m"
    assert [(text.plain[span.start : span.end], span.style) for span in text.spans if span.style] == [
        ("R&D", "bold"),
        ("x", "bold"),
    ]
    assert search_results.highlighted(["&lt;mark&gt;no&lt;/mark&gt;"]) == Text("<mark>no</mark>")


def test_highlight_replaces_the_value(people: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = found({"id": 1, "name": "Ada & Bo", "note": "kept"})
    answer["data"][0]["highlight"] = {"name": ["<mark>Ada</mark> &amp; Bo"], "note": []}
    people.answers[HERE] = [Answer(answer)]
    assert "  0.5   1  Ada & Bo  kept\n" in run("search", "people", "ada").stdout
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1mAda\x1b[0m & Bo" in run("search", "people", "ada", color=True).stdout


def test_corrections_facets_and_note_are_shown(people: FakeGateway) -> None:
    people.answers[HERE] = [
        Answer(
            found(
                {"id": 1, "name": "Ada"},
                meta={"corrections": [{"word": "aad", "corrected": ["ada", "add"]}], "detail": "Time ran out."},
                facets={
                    "kind": {"values": [{"value": "a", "count": 1200}], "other_count": 7, "approximate": False},
                    "maker": {"values": [{"value": None, "count": 2}], "other_count": 0, "approximate": True},
                },
            )
        )
    ]
    shown = run("search", "people", "aad").stdout
    assert "'aad' may be misspelt; also searched for ada, add.\nTime ran out.\n" in shown
    assert "KIND   HITS\na     1,200\n7 with other values\n" in shown
    assert "MAKER  AT LEAST\n" in shown


@pytest.mark.usefixtures("people")
def test_json_is_the_response() -> None:
    assert json.loads(run("search", "people", "ada", "--json").stdout) == found({"id": 1, "name": "Ada", "note": None})


def as_job(fake: FakeGateway, status: str = "succeeded", **more: Any) -> None:
    kept = {**found({"id": 1, "name": "Ada"}), "hits": 1, "page": 1, "limit": 10, "next": None}
    ends = {
        **job(status),
        "kind": "search",
        "result": {**kept, "expires_at": "2024-05-07T07:08:09Z"} if status == "succeeded" else None,
        "expired": False,
        **more,
    }
    fake.answers["/v1/searches"] = [Answer({**job("queued", percent=0.0), "kind": "search"}, 202)]
    fake.answers[f"/v1/jobs/{JOB}/events"] = [events(ends)]
    fake.answers[f"/v1/jobs/{JOB}"] = [Answer(ends)]


def test_search_job_is_followed_and_its_hits_are_shown(people: FakeGateway) -> None:
    as_job(people)
    done = run("search", "people", "ada", "--job", "--limit", "5")
    assert done.exit_code == 0
    assert done.stdout.startswith(
        "SCORE  id  name\n  0.5   1  Ada\n1 of 1\nStored until 2024-05-07 07:08:09 UTC: 1 hits"
    )
    assert done.stderr.endswith("succeeded 100.0 %\n")
    (sent,) = people.requests_to("/v1/searches")
    body = json.loads(sent.body)
    assert (body["dataset"], body["q"], "limit" in body) == ("people", "ada", False)
    assert people.requests_to(f"/v1/jobs/{JOB}")[-1].path.endswith("?limit=5")
    assert people.requests_to(HERE) == []
    assert json.loads(run("search", "people", "ada", "--job", "--json").stdout)["result"]["hits"] == 1


def test_failed_search_job_shows_its_error(people: FakeGateway) -> None:
    as_job(people, "failed", error={"code": "unknown_field", "detail": "The field is gone.", "hint": "Ask again."})
    done = run("search", "people", "ada", "--job")
    assert done.exit_code == 4
    assert "The field is gone.\nHint: Ask again.\n" in done.stdout
    assert "ROWS READ" not in done.stdout


def test_jobs_shows_the_hits_of_a_search_until_they_expire(people: FakeGateway) -> None:
    as_job(people)
    assert "1 of 1\n" in run("jobs", JOB).stdout
    as_job(people, result=None, expired=True)
    assert "has expired" in run("jobs", JOB).stdout
