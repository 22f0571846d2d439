"""Client of the dictionaryapi.dev format: builds the request for a word and parses the response."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

import httpx2
import msgspec

from shared.catalog.dataset import Dictionary
from shared.outgoing import endpoint

MAX_WORD_LENGTH = 64
MAX_PER_PART, MAX_DEFINITIONS = 5, 20
"""Definitions that are stored: for each part of speech, and for a word."""
MAX_TEXT_LENGTH = 1000


class Definition(msgspec.Struct, frozen=True):
    """One meaning of a word."""

    part_of_speech: str
    definition: str


class Entry(NamedTuple):
    """The stored part of a dictionary entry."""

    phonetic: str | None
    definitions: list[Definition]


class InvalidResponse(ValueError):
    """The response does not have the format of a dictionary."""


class _Meaning(msgspec.Struct, rename="camel"):
    part_of_speech: str | None = None
    definitions: list[dict[str, msgspec.Raw]] = []


class _Word(msgspec.Struct):
    phonetic: str | None = None
    phonetics: list[dict[str, msgspec.Raw]] = []
    meanings: list[_Meaning] = []


def can_look_up(word: str) -> bool:
    """Returns whether a dictionary may have the word: not if it is a number or too long."""
    return len(word) <= MAX_WORD_LENGTH and any(char.isalpha() for char in word)


def build_request(
    dataset: str, dictionary: Dictionary, word: str, environment: Mapping[str, str]
) -> tuple[httpx2.Request, tuple[str, ...]]:
    """Returns the request, and the secrets in it that problems must not show. Raises PermanentFailure."""
    base = endpoint.resolve_url(f"The dictionary of {dataset}", dictionary.url, environment)
    headers: dict[str, str] = {}
    params: dict[str, str | int | float | bool] = {}
    secrets = endpoint.authorize(dictionary.auth, environment, headers, params)
    try:
        url = httpx2.URL(base.replace("{word}", quote(word, safe="")))
        return httpx2.Request("GET", url.copy_merge_params(params), headers=headers), secrets
    except (httpx2.InvalidURL, ValueError):
        raise endpoint.to_failure("source_forbidden", f"The dictionary of {dataset} has an invalid URL.") from None


def parse(body: bytes) -> Entry | None:
    """Parses a response; None if it says nothing about the word. Raises InvalidResponse."""
    try:
        words = msgspec.json.decode(body, type=list[_Word])
        phonetics = [word.phonetic for word in words]
        phonetics += [_text(phonetic, "text") for word in words for phonetic in word.phonetics]
        definitions = [
            Definition(_clean(meaning.part_of_speech or ""), text)
            for word in words
            for meaning in word.meanings
            for text in _texts(meaning)[:MAX_PER_PART]
        ]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidResponse(str(error)) from None
    phonetic = next((clean for text in phonetics if text and (clean := _clean(text))), None)
    return Entry(phonetic, definitions[:MAX_DEFINITIONS]) if definitions or phonetic else None


def _texts(meaning: _Meaning) -> list[str]:
    texts = (_clean(_text(item, "definition") or "") for item in meaning.definitions)
    return [text for text in texts if text]


def _text(item: dict[str, msgspec.Raw], key: str) -> str | None:
    return msgspec.json.decode(item[key], type=str | None) if key in item else None


def _clean(text: str) -> str:
    """Returns the text on one line, without NUL, which Postgres can't store."""
    return " ".join(text.replace("\0", " ").split())[:MAX_TEXT_LENGTH]
