"""`millrace search`: what it asks, and how what was found is shown."""

import json
from typing import Any

import pytest
from rich.text import Text

from cli import hits
from tests.unit.fake_gateway import JOB, Answer, Fake, events, job
from tests.unit.test_cli import run

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
def people(fake: Fake) -> Fake:
    fake.answers["/v1/datasets/people"] = [Answer(DATASET)]
    fake.answers[HERE] = [Answer(found({"id": 1, "name": "Ada", "note": None}))]
    return fake


def asked(people: Fake, *arguments: str) -> Any:
    assert run("search", "people", *arguments).exit_code == 0
    return json.loads(people.to(HERE)[-1].body)


def test_rows_are_shown_without_empty_columns(people: Fake) -> None:
    total = {"value": 2000, "relation": "gte"}
    people.answers[HERE] = [Answer(found({"id": 1, "name": "Ada", "note": None}, total=total)), Answer(found())]
    assert run("search", "people", "ada").stdout == "SCORE  id  name\n  0.5   1  Ada\n1 of at least 2,000\n"
    assert run("search", "people", "zoe").stdout == "Nothing matches.\n"


def test_rows_that_are_ordered_have_no_score(people: Fake) -> None:
    answer = found({"id": 2}, {"id": 1})
    for hit in answer["data"]:
        hit["score"] = 0.0
    people.answers[HERE] = [Answer(answer)]
    assert run("search", "people", "--sort", "id.desc").stdout == "id\n 2\n 1\n2 of 2\n"


def test_what_is_asked_goes_along(people: Fake) -> None:
    plain = {"q": "ada", "words": [], "operator": "and", "filters": {}, "facets": [], "limit": 10}
    assert asked(people, "ada") == {**plain, "highlight": ["name", "note"]}
    filters = ["--filter", "price=gte.10", "--filter", "price=lt.20", "--filter", "name=eq.a=b"]
    more = asked(people, *filters, "--sort", "price.desc", "--facets", "kind, maker", "--limit", "3")
    assert more["filters"] == {"price": ["gte.10", "lt.20"], "name": ["eq.a=b"]}
    assert (more["q"], more["sort"], more["facets"], more["limit"]) == ("", "price.desc", ["kind", "maker"], 3)
    exact = asked(people, "--exact", "one", "--exact", "two", "--or")
    assert (exact["words"], exact["operator"]) == (["one", "two"], "or")


@pytest.mark.parametrize(
    ("wrong", "said"), [(["--filter", "price"], "FIELD=CONDITION"), (["ada", "--or"], "--exact"), ([], "DATASET")]
)
def test_what_makes_no_sense_is_not_asked(people: Fake, wrong: list[str], said: str) -> None:
    done = run("search", *(["people", *wrong] if wrong else []))
    assert done.exit_code == 2
    assert said in done.stderr
    assert people.asked == []


def test_words_that_were_looked_for_stand_out_and_html_does_not_show() -> None:
    text = hits.marked(["a &lt;b&gt; <mark>R&amp;D</mark>…", "…<mark>x</mark>\x1b[0m"])
    assert text.plain == "a <b> R&D… …x\\x1b[0m"
    assert [(text.plain[span.start : span.end], span.style) for span in text.spans if span.style] == [
        ("R&D", "bold"),
        ("x", "bold"),
    ]
    assert hits.marked(["&lt;mark&gt;no&lt;/mark&gt;"]) == Text("<mark>no</mark>")


def test_a_highlight_stands_in_the_place_of_its_value(people: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = found({"id": 1, "name": "Ada & Bo", "note": "kept"})
    answer["data"][0]["highlight"] = {"name": ["<mark>Ada</mark> &amp; Bo"], "note": []}
    people.answers[HERE] = [Answer(answer)]
    assert "  0.5   1  Ada & Bo  kept\n" in run("search", "people", "ada").stdout
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1mAda\x1b[0m & Bo" in run("search", "people", "ada", color=True).stdout


def test_corrections_facets_and_doubts_are_told(people: Fake) -> None:
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
    assert "Looked for ada, add beside 'aad'.\nTime ran out.\n" in shown
    assert "KIND   HITS\na     1,200\n7 with other values\n" in shown
    assert "MAKER  AT LEAST\n" in shown


@pytest.mark.usefixtures("people")
def test_json_is_the_answer_as_it_came() -> None:
    assert json.loads(run("search", "people", "ada", "--json").stdout) == found({"id": 1, "name": "Ada", "note": None})


def as_job(fake: Fake, status: str = "succeeded", **more: Any) -> None:
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


def test_as_a_job_it_is_followed_and_its_answer_shown(people: Fake) -> None:
    as_job(people)
    done = run("search", "people", "ada", "--job", "--limit", "5")
    assert done.exit_code == 0
    assert done.stdout.startswith("SCORE  id  name\n  0.5   1  Ada\n1 of 1\nKept until 2024-05-07 07:08:09 UTC: 1 hits")
    assert done.stderr.endswith("succeeded 100.0 %\n")
    (sent,) = people.to("/v1/searches")
    body = json.loads(sent.body)
    assert (body["dataset"], body["q"], "limit" in body) == ("people", "ada", False)
    assert people.to(f"/v1/jobs/{JOB}")[-1].path.endswith("?limit=5")
    assert people.to(HERE) == []
    assert json.loads(run("search", "people", "ada", "--job", "--json").stdout)["result"]["hits"] == 1


def test_a_job_that_failed_tells_why(people: Fake) -> None:
    as_job(people, "failed", error={"code": "unknown_field", "detail": "The field is gone.", "hint": "Ask again."})
    done = run("search", "people", "ada", "--job")
    assert done.exit_code == 4
    assert "The field is gone.\nHint: Ask again.\n" in done.stdout
    assert "ROWS READ" not in done.stdout


def test_a_search_among_the_jobs_shows_its_answer_until_it_expires(people: Fake) -> None:
    as_job(people)
    assert "1 of 1\n" in run("jobs", JOB).stdout
    as_job(people, result=None, expired=True)
    assert "kept no longer" in run("jobs", JOB).stdout
