"""Queries about definitions of words, which the indexer fetches from dictionaries."""

import datetime as dt
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from shared.db import Connection

DefinitionState = Literal["found", "unknown", "pending", "unavailable"]


class Definition(msgspec.Struct, frozen=True):
    """One meaning of a word."""

    part_of_speech: str
    definition: str


class WordDefinition(msgspec.Struct, frozen=True):
    """The dictionary's entry for a word: `stale` if it has expired, `due` if it can be fetched now."""

    state: DefinitionState | None
    phonetic: str | None = None
    definitions: list[Definition] | None = None
    fetched_at: dt.datetime | None = None
    stale: bool = False
    due: bool = False


NO_DICTIONARY = WordDefinition(None)
"""The definition of every word of a dataset without a dictionary."""


async def select_definitions(db: Connection, dictionary: str, words: Sequence[str]) -> list[WordDefinition]:
    """Selects the definitions, in the order of `words`."""
    rows = await db.fetch(
        """
        SELECT d.state, d.phonetic, d.meanings, d.fetched_at, d.failures, d.expires_at <= now() AS expired, a.away
        FROM unnest($2::text[]) WITH ORDINALITY AS w (word, place)
        CROSS JOIN (SELECT EXISTS (SELECT FROM indexer.dictionaries WHERE url = $1 AND retry_at > now()) AS away) a
        LEFT JOIN indexer.definitions d ON d.dictionary = $1 AND d.word = w.word
        ORDER BY w.place
        """,
        dictionary,
        words,
    )
    return [_to_definition(row) for row in rows]


def _to_definition(row: Any) -> WordDefinition:
    due = row["expired"] is not False and not row["away"]
    if row["state"] is None:
        return WordDefinition("unavailable" if row["away"] else "pending", due=due)
    meanings = None if row["meanings"] is None else msgspec.convert(row["meanings"], list[Definition])
    stale = row["fetched_at"] is not None and (row["expired"] or row["failures"] > 0)
    return WordDefinition(row["state"], row["phonetic"], meanings, row["fetched_at"], stale=stale, due=due)
