"""Client for the API of dictionaryapi.dev: builds requests and parses entries."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

import httpx2
import msgspec

from shared.catalog.dataset import Dictionary
from shared.outgoing import endpoint

MAX_WORD_LENGTH = 64
MAX_DEFINITIONS_PER_MEANING, MAX_DEFINITIONS = 5, 20
MAX_TEXT_LENGTH = 1000


class Definition(msgspec.Struct, frozen=True):
    """A definition of a word."""

    part_of_speech: str
    definition: str


class Entry(NamedTuple):
    """The pronunciation and definitions of a word."""

    phonetic: str | None
    definitions: list[Definition]


class Unreadable(ValueError):
    """The response does not have the format of the API."""


class _Meaning(msgspec.Struct, rename="camel"):
    part_of_speech: str | None = None
    definitions: list[dict[str, msgspec.Raw]] = []


class _Response(msgspec.Struct):
    phonetic: str | None = None
    phonetics: list[dict[str, msgspec.Raw]] = []
    meanings: list[_Meaning] = []


def can_look_up(word: str) -> bool:
    """False for numbers and very long words, which no dictionary has."""
    return len(word) <= MAX_WORD_LENGTH and any(char.isalpha() for char in word)


def build_request(
    dataset: str, dictionary: Dictionary, word: str, environment: Mapping[str, str]
) -> tuple[httpx2.Request, tuple[str, ...]]:
    """Returns the request and the secrets to redact from problems. Raises PermanentFailure."""
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
    """Returns None if the response has neither pronunciation nor definitions. Raises Unreadable."""
    try:
        responses = msgspec.json.decode(body, type=list[_Response])
        sounds = [response.phonetic for response in responses]
        sounds += [_text(sound, "text") for response in responses for sound in response.phonetics]
        definitions = [
            Definition(_clean(meaning.part_of_speech or ""), text)
            for response in responses
            for meaning in response.meanings
            for text in _texts(meaning)[:MAX_DEFINITIONS_PER_MEANING]
        ]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(str(error)) from None
    phonetic = next((clean for sound in sounds if sound and (clean := _clean(sound))), None)
    return Entry(phonetic, definitions[:MAX_DEFINITIONS]) if definitions or phonetic else None


def _texts(meaning: _Meaning) -> list[str]:
    texts = (_clean(_text(definition, "definition") or "") for definition in meaning.definitions)
    return [text for text in texts if text]


def _text(members: dict[str, msgspec.Raw], key: str) -> str | None:
    return msgspec.json.decode(members[key], type=str | None) if key in members else None


def _clean(text: str) -> str:
    """Joins lines, removes null characters, which Postgres can't store, and truncates."""
    return " ".join(text.replace("\0", " ").split())[:MAX_TEXT_LENGTH]
