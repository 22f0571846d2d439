"""Declarations of sources: the catalog's own are valid, and mistakes in others are reported with their place."""

from typing import Any

import msgspec
import pytest

from shared.catalog import jsonpath
from shared.catalog.dataset import Dataset
from shared.catalog.files import BadDeclaration, read_datasets, to_dataset
from shared.catalog.paginators import Cursor, Offset, PageNumber, SinglePage
from shared.catalog.schedule import Schedule
from shared.catalog.source import Bearer, DeleteMissing, Incremental
from tests.stack import ROOT

SOURCE: dict[str, Any] = {"name": "there", "url": "https://there.example/things"}
THINGS: dict[str, Any] = {
    "title": "Things",
    "primary_key": ["id"],
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "name", "type": "string", "required": True},
        {"name": "code", "type": "string"},
        {"name": "weight", "type": "number"},
        {"name": "number", "type": "integer", "generated": True},
    ],
}


def declared(*, primary_key: tuple[str, ...] = ("id",), **source: Any) -> Dataset:
    return to_dataset("things", {**THINGS, "primary_key": primary_key, "sources": [{**SOURCE, **source}]})


def refused(**changes: Any) -> str:
    with pytest.raises(BadDeclaration) as caught:
        declared(**changes)
    return str(caught.value)


def test_the_catalog_pulls_from_four_places() -> None:
    datasets = {dataset.name: dataset for dataset in read_datasets(ROOT / "catalog")}
    found = {f"{name}/{source.name}": source for name, dataset in datasets.items() for source in dataset.sources}
    assert sorted(found) == ["contacts/crm", "customers/shop", "items/warehouse", "paragraphs/story"]
    crm = found["contacts/crm"]
    assert (crm.auth, crm.schedule) == (Bearer(secret="crm_token"), Schedule(cron="0 0 * * *"))
    assert isinstance(crm.paginator, Cursor)
    assert crm.fields["nimbus_id"] == "id"
    assert isinstance(found["customers/shop"].paginator, PageNumber)
    assert isinstance(found["items/warehouse"].paginator, Offset)
    assert found["items/warehouse"].schedule is not None
    assert (found["paragraphs/story"].format, found["paragraphs/story"].paginator) == ("text", SinglePage())


def test_a_source_is_found_by_its_name() -> None:
    dataset = declared()
    assert dataset.source("there").url == SOURCE["url"]
    with pytest.raises(KeyError):
        dataset.source("elsewhere")


def test_a_declaration_survives_being_written_down() -> None:
    dataset = declared(
        url="${SOURCE_THERE}/things",
        auth={"type": "http_basic", "username": "me", "secret": "there"},
        paginator={"type": "page_number", "base_page": 1, "total_path": "total", "total_of": "rows"},
        incremental={"cursor_path": "changed", "start_param": "since", "row_order": "asc"},
        schedule={"cron": "0 3 * * *", "timezone": "Europe/Lisbon"},
    )
    assert msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(dataset)), type=Dataset) == dataset


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "http://there.example:8080/a/b?c=d"},
        {"url": "https://[2001:db8::1]/"},
        {"url": "https://there.example"},
        {"url": "${SOURCE_THERE}"},
        {"url": "${SOURCE_THERE}?kind=thing"},
        {"url": "${SOURCE_THERE}/things", "auth": {"type": "api_key", "secret": "there", "location": "query"}},
        {"headers": {"Accept": "application/json", "X-Tenant": "7 of 9"}},
        {"params": {"kind": "thing", "deep": True, "of": 7, "over": 0.5}},
        {"fields": {"id": "$", "name": "a['b.c'][0]", "weight": "w"}},
        {"format": "text", "fields": {"id": "$", "name": "$"}},
        {"delete_missing": {"id_field": "code", "max_shrink": 1}},
        {"delete_missing": {"id_field": "id"}},
        {"paginator": {"type": "offset", "limit": 10, "stop_after_empty_page": False, "maximum_offset": 0}},
        {"max_errors": 0, "max_error_rate": 0.5, "requests_per_second": 0.5, "timeout_seconds": 120},
    ],
)
def test_valid_declarations(changes: dict[str, Any]) -> None:
    assert declared(**changes).sources[0].name == "there"


@pytest.mark.parametrize(
    ("changes", "place", "message"),
    [
        ({"name": "Over there"}, "name", "is not a name"),
        ({"url": "ftp://there.example/"}, "url", "https://host/path"),
        ({"url": "//there.example/"}, "url", "https://host/path"),
        ({"url": "/things"}, "url", "https://host/path"),
        ({"url": "https://me:secret@there.example/"}, "url", "https://host/path"),
        ({"url": "https://there.example/a b"}, "url", "https://host/path"),
        ({"url": "https://there.example/#part"}, "url", "https://host/path"),
        ({"url": "${HOME}/things"}, "url", "${SOURCE_CRM}"),
        ({"url": "${DATABASE_URL}/things"}, "url", "${SOURCE_CRM}"),
        ({"url": "https://there.example/${SOURCE_THERE}"}, "url", "${SOURCE_CRM}"),
        ({"url": "https://${SOURCE_THERE}/"}, "url", "${SOURCE_CRM}"),
        ({"url": "${SOURCE_THERE}.evil.example/"}, "url", "${SOURCE_CRM}"),
        ({"url": "${SOURCE_THERE}@evil.example/"}, "url", "${SOURCE_CRM}"),
        ({"url": "${SOURCE_THERE}:8080/"}, "url", "${SOURCE_CRM}"),
        ({"auth": {"type": "bearer", "secret": "there"}}, "url", "where a secret may go"),
        (
            {"url": "${SOURCE_THERE}/", "auth": {"type": "bearer", "secret": "eyJhbGciOi.J9"}},
            "auth.secret",
            "never the secret itself",
        ),
        ({"auth": {"type": "oauth1"}}, "auth", "oauth1"),
        ({"headers": {"Authorization": "Bearer abc"}}, "headers", "use auth"),
        ({"headers": {"host": "elsewhere"}}, "headers", "can't be set"),
        ({"headers": {"X Y": "1"}}, "headers", "can't be set"),
        ({"headers": {"X-Y": "1\r\nHost: elsewhere"}}, "headers", "printable ASCII"),
        ({"data_selector": "data..items"}, "data_selector", "is not a path"),
        ({"data_selector": ""}, "data_selector", "can't be empty"),
        ({"fields": {"id": "a[", "name": "b"}}, "fields.id", "is not a path"),
        ({"fields": {"id": "id", "name": "name", "more": "more"}}, "fields.more", "not a field"),
        ({"fields": {"id": "id", "name": "name", "number": "n"}}, "fields.number", "not a field"),
        ({"fields": {"id": "id"}}, "fields", "'name' is required"),
        ({"format": "text"}, "fields", "must map one field"),
        ({"format": "text", "fields": {"id": "id", "name": "$"}}, "fields", "must map one field"),
        (
            {"format": "text", "fields": {"id": "$", "name": "$"}, "paginator": {"type": "cursor"}},
            "paginator",
            "a text contains no cursor",
        ),
        ({"paginator": {"type": "cursor", "cursor_path": "a b"}}, "paginator.cursor_path", "is not a path"),
        ({"paginator": {"type": "json_link", "next_url_path": "[x]"}}, "paginator.next_url_path", "is not a path"),
        ({"paginator": {"type": "offset", "limit": 0}}, "paginator.limit", "at least 1"),
        ({"paginator": {"type": "offset"}}, "paginator", "limit"),
        ({"paginator": {"type": "auto"}}, "paginator", "auto"),
        (
            {"paginator": {"type": "page_number", "stop_after_empty_page": False}},
            "paginator",
            "has no end",
        ),
        ({"max_pages": 0}, "max_pages", "more than 0"),
        ({"max_rows": -1}, "max_rows", "more than 0"),
        ({"max_bytes": 1 << 30}, "max_bytes", "at most 67108864"),
        ({"max_errors": -1}, "max_errors", "0 or more"),
        ({"max_error_rate": 1.5}, "max_error_rate", "share"),
        ({"timeout_seconds": 600}, "timeout_seconds", "at most 120"),
        ({"requests_per_second": 0.001}, "requests_per_second", "at least one"),
        (
            {"incremental": {"cursor_path": "at", "start_param": "after"}, "paginator": {"type": "cursor"}},
            "incremental.start_param",
            "parameter of the paginator",
        ),
        ({"incremental": {"cursor_path": "", "start_param": "since"}}, "incremental.cursor_path", "can't be empty"),
        (
            {"incremental": {"cursor_path": "at", "start_param": "since"}, "primary_key": ()},
            "incremental",
            "rows would be loaded twice",
        ),
        (
            {"incremental": {"cursor_path": "at", "start_param": "since"}, "delete_missing": {"id_field": "id"}},
            "delete_missing",
            "only changed rows",
        ),
        ({"delete_missing": {"id_field": "nothing"}}, "delete_missing.id_field", "not a field"),
        ({"delete_missing": {"id_field": "weight"}}, "delete_missing.id_field", "an id must be"),
        ({"delete_missing": {"id_field": "id", "max_shrink": 2}}, "delete_missing.max_shrink", "share"),
        (
            {"delete_missing": {"id_field": "id"}, "schedule": {"cron": "0 0 * * *", "overlap": "allow"}},
            "schedule.overlap",
            "must be skip",
        ),
        (
            {"delete_missing": {"id_field": "code"}, "fields": {"id": "id", "name": "name"}},
            "delete_missing.id_field",
            "not a field that this source fills",
        ),
        ({"schedule": {"cron": "every night"}}, "schedule", "cron"),
        ({"paginators": {}}, "paginators", "paginator"),
    ],
)
def test_an_invalid_declaration_is_refused_with_its_place(changes: dict[str, Any], place: str, message: str) -> None:
    (line,) = refused(**changes).splitlines()
    assert f"sources[0].{place}" in line
    assert message in line


def test_two_sources_of_one_name_are_refused() -> None:
    with pytest.raises(BadDeclaration, match="declared twice"):
        to_dataset("things", {**THINGS, "sources": [SOURCE, SOURCE]})


def test_every_mistake_of_every_source_is_reported() -> None:
    with pytest.raises(BadDeclaration) as caught:
        to_dataset("things", {**THINGS, "sources": [{**SOURCE, "max_pages": 0, "url": "?"}, {"name": "x", "url": "?"}]})
    assert len(str(caught.value).splitlines()) == 3


def test_defaults_bound_a_sync() -> None:
    source = declared().sources[0]
    assert (source.max_pages, source.max_rows, source.max_seconds) == (10_000, 10_000_000, 3600)
    assert (source.max_bytes, source.timeout_seconds) == (16 << 20, 30)
    assert DeleteMissing(id_field="id").max_shrink == 0.5
    assert Incremental(cursor_path="at", start_param="since").row_order is None


DOCUMENT: dict[str, Any] = {
    "a": {"b": [{"c": 1}, {"c": None}, {}]},
    "x.y": 5,
    "n": None,
    "@odata.nextLink": "?p=2",
    "1": {"2": 3},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", [DOCUMENT]),
        ("a.b", [DOCUMENT["a"]["b"]]),
        ("$.a.b[*].c", [1, None]),
        ("a.b[0].c", [1]),
        ("a.b[9].c", []),
        ("a['b'][0]['c']", [1]),
        ("a[*][*].c", [1, None]),
        ("['x.y']", [5]),
        ("$['@odata.nextLink']", ["?p=2"]),
        ("1.2", [3]),
        ("n", [None]),
        ("n.m", []),
        ("x", []),
        ("a.b.c", []),
        ("a[0]", []),
    ],
)
def test_a_path_leads_to_all_that_is_there(path: str, found: list[Any]) -> None:
    assert jsonpath.find(DOCUMENT, path) == found
    assert jsonpath.first(DOCUMENT, path) == (found[0] if found else None)


@pytest.mark.parametrize(
    "path", ["", " ", ".a", "a.", "a..b", "a b", "a[", "a]", "a[-1]", "a[x]", "a[*]b", "$a", "a['']"]
)
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(jsonpath.BadPath):
        jsonpath.parse(path)
