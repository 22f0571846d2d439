"""An entry of a dictionary in the form of dictionaryapi.dev: what is asked, and what is kept of the answer."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

import httpx2
import msgspec

from shared.catalog.dataset import Dictionary
from shared.outgoing import endpoint

LONGEST_WORD = 64
OF_EACH, IN_ALL = 5, 20
"""Definitions that are kept: of each part of speech, and of a word."""
LONGEST_TEXT = 1000


class Definition(msgspec.Struct, frozen=True):
    """One meaning of a word."""

    part_of_speech: str
    definition: str


class Entry(NamedTuple):
    """What is kept of a word that the dictionary knows."""

    phonetic: str | None
    definitions: list[Definition]


class Unreadable(ValueError):
    """The answer is not what a dictionary answers; says why."""


class _Meaning(msgspec.Struct, rename="camel"):
    part_of_speech: str | None = None
    definitions: list[dict[str, msgspec.Raw]] = []


class _Answer(msgspec.Struct):
    phonetic: str | None = None
    phonetics: list[dict[str, msgspec.Raw]] = []
    meanings: list[_Meaning] = []


def is_askable(word: str) -> bool:
    """Numbers stand in no dictionary, and what is very long is no word."""
    return len(word) <= LONGEST_WORD and any(char.isalpha() for char in word)


def question(
    dataset: str, dictionary: Dictionary, word: str, environment: Mapping[str, str]
) -> tuple[httpx2.Request, tuple[str, ...]]:
    """The request, and the texts that must not be seen in any problem. Raises PermanentFailure."""
    base = endpoint.resolve_url(f"The dictionary of {dataset}", dictionary.url, environment)
    headers: dict[str, str] = {}
    params: dict[str, str | int | float | bool] = {}
    secrets = endpoint.authorize(dictionary.auth, environment, headers, params)
    try:
        url = httpx2.URL(base.replace("{word}", quote(word, safe="")))
        return httpx2.Request("GET", url.copy_merge_params(params), headers=headers), secrets
    except (httpx2.InvalidURL, ValueError):
        raise endpoint.to_failure("source_forbidden", f"The dictionary of {dataset} has a URL that is none.") from None


def read(body: bytes) -> Entry | None:
    """None if nothing is said of the word. Raises Unreadable."""
    try:
        answers = msgspec.json.decode(body, type=list[_Answer])
        sounds = [one.phonetic for one in answers]
        sounds += [_text(sound, "text") for one in answers for sound in one.phonetics]
        definitions = [
            Definition(_clean(meaning.part_of_speech or ""), text)
            for one in answers
            for meaning in one.meanings
            for text in _texts(meaning)[:OF_EACH]
        ]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(str(error)) from None
    phonetic = next((clean for sound in sounds if sound and (clean := _clean(sound))), None)
    return Entry(phonetic, definitions[:IN_ALL]) if definitions or phonetic else None


def _texts(meaning: _Meaning) -> list[str]:
    texts = (_clean(_text(one, "definition") or "") for one in meaning.definitions)
    return [text for text in texts if text]


def _text(found: dict[str, msgspec.Raw], key: str) -> str | None:
    return msgspec.json.decode(found[key], type=str | None) if key in found else None


def _clean(text: str) -> str:
    """On one line, without what Postgres can't keep."""
    return " ".join(text.replace("\0", " ").split())[:LONGEST_TEXT]
