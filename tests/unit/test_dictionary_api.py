"""The request for a word to a dictionary, and the entry read from its response."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.indexer.words import dictionary_api
from services.indexer.words.dictionary_api import (
    MAX_DEFINITIONS,
    MAX_DEFINITIONS_PER_MEANING,
    MAX_TEXT_LENGTH,
    Definition,
    Entry,
    Unreadable,
)
from shared.bus.failures import PermanentFailure
from shared.catalog.dataset import Dictionary
from shared.catalog.source import ApiKey, Bearer

URL = "${SOURCE_THERE}/entries/{word}"
ENVIRONMENT = {"SOURCE_THERE": "https://there.example/api/", "SECRET_THERE": "s3cr3t/"}
REAL = [
    {
        "word": "mill",
        "phonetic": None,
        "phonetics": [{"text": "", "audio": "https://there.example/mill.mp3"}, {"text": "/məl/", "audio": ""}],
        "meanings": [
            {
                "partOfSpeech": "noun",
                "definitions": [
                    {
                        "definition": "A grinding\n apparatus.",
                        "synonyms": [],
                        "antonyms": [],
                        "example": "Pepper\u0000.",
                    },
                    {"definition": "A building with such a\u0000thing.", "synonyms": [], "antonyms": []},
                ],
                "synonyms": ["works"],
            }
        ],
        "license": {"name": "CC BY-SA 3.0"},
        "sourceUrls": ["https://en.wiktionary.org/wiki/mill"],
    },
    {"word": "mill", "meanings": [{"partOfSpeech": "verb", "definitions": [{"definition": "To grind."}]}]},
]


def read(answer: Any) -> Entry | None:
    return dictionary_api.parse(json.dumps(answer).encode())


def request_for(word: str, **options: Any) -> tuple[str, dict[str, str], tuple[str, ...]]:
    request, secrets = dictionary_api.build_request("notes", Dictionary(url=URL, **options), word, ENVIRONMENT)
    return str(request.url), dict(request.headers), secrets


def test_an_answer_as_it_really_is() -> None:
    assert read(REAL) == Entry(
        "/məl/",
        [
            Definition("noun", "A grinding apparatus."),
            Definition("noun", "A building with such a thing."),
            Definition("verb", "To grind."),
        ],
    )


def test_an_answer_without_a_meaning_or_a_sound_says_nothing() -> None:
    silent = [{"phonetic": " ", "meanings": [{"definitions": [{"definition": ""}, {}]}]}]
    answers: list[list[Any]] = [[], [{}], silent]
    for answer in answers:
        assert read(answer) is None
    assert read([{"phonetic": "/məl/"}]) == Entry("/məl/", [])


def test_only_so_much_is_kept() -> None:
    many = [{"definition": f"{number} {'x' * 2 * MAX_TEXT_LENGTH}"} for number in range(9)]
    entry = read([{"meanings": [{"partOfSpeech": str(number), "definitions": many} for number in range(9)]}])
    assert entry is not None
    assert len(entry.definitions) == MAX_DEFINITIONS
    assert [one.part_of_speech for one in entry.definitions] == [
        str(n // MAX_DEFINITIONS_PER_MEANING) for n in range(MAX_DEFINITIONS)
    ]
    assert {len(one.definition) for one in entry.definitions} == {MAX_TEXT_LENGTH}


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'[{"meanings": 3}]', b"\xff", b"[" * 100_000, b"[[1]]"])
def test_an_unreadable_answer_is_reported(body: bytes) -> None:
    with pytest.raises(Unreadable):
        dictionary_api.parse(body)


JSON = st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=5)
NAMES = ("phonetic", "phonetics", "text", "meanings", "partOfSpeech", "definitions", "definition")


MEMBERS = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(st.sampled_from(NAMES), JSON | st.lists(MEMBERS, max_size=3), max_size=4), max_size=3))
def test_any_answer_is_read_or_reported_as_unreadable(answer: Any) -> None:
    try:
        entry = read(answer)
    except Unreadable:
        return
    assert entry is None or "\0" not in repr(entry)


def test_the_url_of_a_word() -> None:
    assert request_for("mill")[0] == "https://there.example/api/entries/mill"
    assert request_for("été")[0] == "https://there.example/api/entries/%C3%A9t%C3%A9"
    assert request_for("a/../b?c#d")[0] == "https://there.example/api/entries/a%2F..%2Fb%3Fc%23d"
    assert request_for("{word}")[0] == "https://there.example/api/entries/%7Bword%7D"


def test_with_which_secret() -> None:
    _, headers, secrets = request_for("mill", auth=Bearer(secret="there"))
    assert headers["authorization"] == "Bearer s3cr3t/"
    url, _, secrets = request_for("mill", auth=ApiKey(secret="there", name="key", location="query"))
    assert url.endswith("/entries/mill?key=s3cr3t%2F")
    assert set(secrets) == {"s3cr3t/", "s3cr3t%2F"}
    with pytest.raises(PermanentFailure):
        request_for("mill", auth=Bearer(secret="elsewhere"))


def test_what_is_no_word_is_not_looked_up() -> None:
    assert [word for word in ("mill", "été", "b2b", "42", "_", "x" * 65) if dictionary_api.can_look_up(word)] == [
        "mill",
        "été",
        "b2b",
    ]
