"""Requests to a source with their secrets, and responses as lines of JSON."""

import base64
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.ingestor.sources import mapping
from services.ingestor.sources.fetch import build_request
from services.ingestor.sources.mapping import UnreadableResponse
from shared.bus.failures import PermanentFailure
from shared.catalog.files import to_dataset
from shared.catalog.paginators import Place
from shared.catalog.source import Source

SECRET = "s3cr3t/of+ours"
ENVIRONMENT = {"SOURCE_THERE": "https://there.example/base/", "SECRET_THERE": SECRET}


def source(**changes: Any) -> Source:
    return msgspec.convert({"name": "there", "url": "${SOURCE_THERE}/things", **changes}, Source)


def url_of(at: Place | None = None, since: str | None = None, **changes: Any) -> str:
    return str(build_request(source(**changes), at or Place(), since, ENVIRONMENT).request.url)


def refused(environment: dict[str, str], at: Place | None = None, **changes: Any) -> str:
    with pytest.raises(PermanentFailure) as caught:
        build_request(source(**changes), at or Place(), None, environment)
    problem = caught.value.problem
    assert SECRET not in problem.detail + problem.hint
    return problem.code


BASE = "https://there.example/base/things"


def test_where_a_page_is() -> None:
    assert url_of() == BASE
    assert url_of(url="https://elsewhere.example/x") == "https://elsewhere.example/x"
    assert url_of(url="${SOURCE_THERE}/things?kind=new", params={"deep": True}) == f"{BASE}?kind=new&deep=true"
    offset = {"type": "offset", "limit": 5}
    assert url_of(Place(number=10), paginator=offset, params={"q": "a b&c"}) == f"{BASE}?q=a+b%26c&limit=5&offset=10"
    assert url_of(Place(token="n&n="), paginator={"type": "cursor"}) == f"{BASE}?after=n%26n%3D"


def test_the_request_to_an_incremental_source() -> None:
    changes: dict[str, Any] = {"incremental": {"cursor_path": "at", "start_param": "since"}}
    assert url_of(**changes) == BASE
    assert url_of(since="2024-01-01T00:00:00+01:00", **changes) == f"{BASE}?since=2024-01-01T00%3A00%3A00%2B01%3A00"


def test_a_link_stands_for_itself() -> None:
    changes: dict[str, Any] = {
        "paginator": {"type": "json_link"},
        "params": {"kind": "new"},
        "incremental": {"cursor_path": "at", "start_param": "since"},
    }
    assert url_of(Place(token="?page=2&kind=old"), "5", **changes) == f"{BASE}?page=2&kind=old"
    assert url_of(Place(token="/other?p=2"), **changes) == "https://there.example/other?p=2"
    assert url_of(Place(token="https://there.example:443/other"), **changes) == "https://there.example/other"


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/base/things?page=2",
        "//evil.example/things",
        "http://there.example/base/things",
        "https://there.example:8443/base/things",
        "https://there.example.evil.example/",
        "javascript:alert(1)",
        "http://169.254.169.254/",
        "https://there.example\\@evil.example/",
        "https://[",
    ],
)
def test_a_link_to_another_host_is_not_followed(link: str) -> None:
    changes = {"paginator": {"type": "header_link"}, "auth": {"type": "bearer", "secret": "there"}}
    assert refused(ENVIRONMENT, Place(token=link), **changes) == "source_forbidden"


def test_where_a_secret_goes() -> None:
    question = build_request(source(auth={"type": "bearer", "secret": "there"}), Place(), None, ENVIRONMENT)
    assert question.request.headers["Authorization"] == f"Bearer {SECRET}"
    question = build_request(
        source(auth={"type": "http_basic", "username": "me", "secret": "there"}), Place(), None, ENVIRONMENT
    )
    pair = base64.b64encode(f"me:{SECRET}".encode()).decode()
    assert question.request.headers["Authorization"] == f"Basic {pair}"
    assert {SECRET, pair} <= set(question.secrets)
    question = build_request(source(auth={"type": "api_key", "secret": "there"}), Place(), None, ENVIRONMENT)
    assert question.request.headers["X-Api-Key"] == SECRET
    changes = {"type": "api_key", "secret": "there", "name": "key", "location": "query"}
    question = build_request(source(auth=changes), Place(), None, ENVIRONMENT)
    assert dict(question.request.url.params) == {"key": SECRET}
    assert "s3cr3t%2Fof%2Bours" in question.secrets
    linked = source(auth=changes, paginator={"type": "json_link"})
    assert str(build_request(linked, Place(token="?p=2"), None, ENVIRONMENT).request.url).startswith(f"{BASE}?p=2&key=")


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "there").write_text(f"{SECRET}\n")
    environment = {"SOURCE_THERE": "https://there.example", "SECRETS_DIR": str(tmp_path)}
    question = build_request(source(auth={"type": "bearer", "secret": "there"}), Place(), None, environment)
    assert question.request.headers["Authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("secret", ["", " \n", "two\nlines", f"{SECRET}\x00", "schlüssel"])
def test_an_unusable_secret_is_reported_without_showing_it(secret: str) -> None:
    environment = {**ENVIRONMENT, "SECRET_THERE": secret}
    assert refused(environment, auth={"type": "bearer", "secret": "there"}) == "secret_missing"


def test_a_url_that_is_not_set_is_reported() -> None:
    assert refused({}) == "source_unset"
    assert refused({"SOURCE_THERE": ""}) == "source_unset"
    assert refused({"SOURCE_THERE": "https://a\nb"}) == "source_forbidden"


THINGS = to_dataset(
    "things",
    {
        "title": "Things",
        "fields": [
            {"name": "id", "type": "integer"},
            {"name": "name", "type": "string"},
            {"name": "ref", "type": "uuid"},
            {"name": "number", "type": "integer", "generated": True},
        ],
    },
)


def lines(body: bytes, **changes: Any) -> list[bytes]:
    declared = source(**changes)
    found = mapping.rows(mapping.read(body, "utf-8", declared), declared)
    return mapping.to_lines(found, declared, mapping.columns(declared, THINGS))


@pytest.mark.parametrize(
    ("body", "changes", "expected"),
    [
        (b'[{"id":1},{"id":2}]', {}, [b'{"id":1}', b'{"id":2}']),
        (b'{"id":1}', {}, [b'{"id":1}']),
        (b'{"data":{"id":1}}', {"data_selector": "data"}, [b'{"id":1}']),
        (b'{"data":[{"id":1}]}', {"data_selector": "data"}, [b'{"id":1}']),
        (b'{"data":[{"x":{"id":1}},{"x":{"id":2}}]}', {"data_selector": "data[*].x"}, [b'{"id":1}', b'{"id":2}']),
        (b'{"data":null}', {"data_selector": "data"}, []),
        (b"{}", {"data_selector": "data"}, []),
        (b"null", {}, []),
        (b"", {}, []),
        (b" \n", {}, []),
        (b"[null]", {}, []),
        (b'[{"id":1,"more":2,"number":3}]', {}, [b'{"id":1}']),
        (b'[{"id":1},"what?",[2]]', {}, [b'{"id":1}', b'"what?"', b"[2]"]),
        (b'[{"id":1.10,"name":123456789012345678901234567890.5}]', {}, [
            b'{"id":1.10,"name":123456789012345678901234567890.5}'
        ]),
        (b'[{"i":1,"n":{"x":"a"}},{"i":2}]', {"fields": {"id": "i", "name": "n.x"}}, [
            b'{"id":1,"name":"a"}', b'{"id":2}'
        ]),
        (b'[{"id":1,"n":null}]', {"fields": {"name": "n"}}, [b'{"name":null}']),
        (b'["a","b"]', {"fields": {"name": "$"}}, [b'{"name":"a"}', b'{"name":"b"}']),
        (" Two\n lines. ü \n".encode(), {"format": "text", "fields": {"name": "$"}}, [
            '{"name":"Two\\n lines. ü"}'.encode()
        ]),
        (b" \n", {"format": "text", "fields": {"name": "$"}}, []),
    ],
)  # fmt: skip
def test_from_an_answer_to_lines(body: bytes, changes: dict[str, Any], expected: list[bytes]) -> None:
    assert lines(body, **changes) == expected


@pytest.mark.parametrize("body", [b'{"data": [1, 2', b"<html>", b'"\xff"', b"[" * 100_000, b"[NaN]"])
def test_what_is_no_json_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableResponse, match="no JSON"):
        mapping.read(body, "utf-8", source())


def test_a_text_in_another_encoding() -> None:
    text = source(format="text", fields={"name": "$"})
    assert mapping.read("Grün".encode("latin-1"), "latin-1", text) == "Grün"
    for encoding in ("utf-8", "nonsense"):
        with pytest.raises(UnreadableResponse, match="no text"):
            mapping.read("Grün".encode("latin-1"), encoding, text)


@pytest.mark.parametrize(
    ("values", "so_far", "expected"),
    [
        ([3, 20, 100], None, "100"),
        ([3, 20], "100", "100"),
        ([Decimal("9.5"), 9], "9", "9.5"),
        (["2024-01-02", "2024-01-10"], "2024-01-09", "2024-01-10"),
        ([], "5", "5"),
        ([None, True, {"x": 1}], None, None),
        ([7], "a text", "a text"),
    ],
)
def test_the_highest_value(values: list[Any], so_far: str | None, expected: str | None) -> None:
    assert mapping.highest([{"at": value} for value in values], "at", so_far) == expected


@pytest.mark.parametrize(
    ("field", "values", "expected"),
    [
        ("id", [7, "7", " 7 ", "007", "+7", "x", None, "", 7.5, {}], {"7"}),
        ("name", ["a", " a", 7, None, ""], {"a", " a", "7"}),
        ("ref", ["0AF0c7f2-5f0d-4b5a-9d6e-1d2f3a4b5c6d", None], {"0af0c7f2-5f0d-4b5a-9d6e-1d2f3a4b5c6d"}),
    ],
)
def test_ids_are_written_as_postgres_writes_them(field: str, values: list[Any], expected: set[str]) -> None:
    declared = source(delete_missing={"id_field": field}, fields={field: "its.id"})
    found = [{"its": {"id": value}} for value in values]
    assert mapping.ids(found, declared, THINGS) == expected
    assert mapping.ids(found, source(), THINGS) == set()
