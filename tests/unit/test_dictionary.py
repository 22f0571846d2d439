"""Declarations of dictionaries: the catalog's own is valid, and mistakes in others are reported with their place."""

from typing import Any

import msgspec
import pytest

from shared.catalog.dataset import Dataset, Dictionary
from shared.catalog.evolution import find_conflicts
from shared.catalog.files import BadDeclaration, read_datasets, to_dataset
from tests.stack import ROOT

DICTIONARY: dict[str, Any] = {"url": "https://there.example/entries/{word}"}
NOTES: dict[str, Any] = {
    "title": "Notes",
    "fields": [{"name": "text", "type": "string"}],
    "search": {"fields": ["text"]},
}


def declared(**changes: Any) -> Dataset:
    return to_dataset("notes", {**NOTES, "dictionary": {**DICTIONARY, **changes}})


def test_the_paragraphs_have_one() -> None:
    found = {one.name: one.dictionary for one in read_datasets(ROOT / "catalog") if one.dictionary}
    assert found == {"paragraphs": Dictionary(url="${SOURCE_DICTIONARY}/entries/{word}")}


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "http://there.example:8080/a?word={word}"},
        {"url": "${SOURCE_THERE}/{word}/entry", "auth": {"type": "bearer", "secret": "there"}},
        {"words": 1},
        {"words": 100, "requests_per_second": 0.2},
    ],
)
def test_what_can_be_declared(changes: dict[str, Any]) -> None:
    dataset = declared(**changes)
    assert dataset.dictionary == msgspec.convert({**DICTIONARY, **changes}, Dictionary)
    assert msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(dataset)), type=Dataset) == dataset


@pytest.mark.parametrize(
    ("changes", "place", "what"),
    [
        ({"url": "https://{word}.example/"}, "url", "{word}"),
        ({"url": "https://there.example{word}/"}, "url", "{word}"),
        ({"url": "${SOURCE_THERE}{word}/x"}, "url", "{word}"),
        ({"url": "${SOURCE_THERE}.evil.example/{word}"}, "url", "{word}"),
        ({"url": "https://there.example/entries"}, "url", "{word}"),
        ({"url": "https://there.example/{word}/{word}"}, "url", "{word}"),
        ({"url": "https://me@there.example/{word}"}, "url", "{word}"),
        ({"url": "ftp://there.example/{word}"}, "url", "{word}"),
        ({"url": "${HOME}/{word}"}, "url", "{word}"),
        ({"url": "https://there.example/${SECRET_X}/{word}"}, "url", "{word}"),
        ({"url": "https://there.example/{word}#part"}, "url", "{word}"),
        ({"url": "https://there.example/{language}/{word}"}, "url", "{word}"),
        ({"url": "https://there.example/é/{word}"}, "url", "{word}"),
        ({"url": f"https://there.example/{'x' * 200}/{{word}}"}, "url", "200 characters"),
        ({"auth": {"type": "bearer", "secret": "there"}}, "url", "${SOURCE_DICTIONARY}"),
        ({"url": "${SOURCE_X}/{word}", "auth": {"type": "bearer", "secret": "eyJ.J9"}}, "auth/secret", "the name"),
        ({"words": 0}, "words", "from 1 to 100"),
        ({"words": 101}, "words", "from 1 to 100"),
        ({"requests_per_second": 0.1}, "requests_per_second", "0.2"),
        ({"wrods": 10}, "wrods", "'words'"),
    ],
)
def test_what_is_wrong_is_reported_with_its_place(changes: dict[str, Any], place: str, what: str) -> None:
    with pytest.raises(BadDeclaration) as caught:
        declared(**changes)
    (mistake,) = caught.value.mistakes
    assert mistake.pointer == f"#/dictionary/{place}"
    assert what in mistake.detail


def test_without_search_there_are_no_words_to_define() -> None:
    with pytest.raises(BadDeclaration) as caught:
        to_dataset("notes", {"title": "Notes", "fields": NOTES["fields"], "dictionary": DICTIONARY})
    assert [mistake.pointer for mistake in caught.value.mistakes] == ["#/dictionary"]


def test_it_may_come_change_and_go() -> None:
    without = to_dataset("notes", NOTES)
    assert [find_conflicts(*pair) for pair in ((without, declared()), (declared(), declared(words=5)))] == [[], []]
    assert find_conflicts(declared(), without) == []
