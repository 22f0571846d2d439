"""Queries of what the indexer has been told by dictionaries."""

import datetime as dt
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from shared.db import Connection

State = Literal["found", "unknown", "pending", "unavailable"]


class Definition(msgspec.Struct, frozen=True):
    """One meaning of a word."""

    part_of_speech: str
    definition: str


class Defined(msgspec.Struct, frozen=True):
    """A word as the dictionary has it; `stale` says that it was to be asked again, and `due` that it may be now."""

    state: State | None
    phonetic: str | None = None
    definitions: list[Definition] | None = None
    fetched_at: dt.datetime | None = None
    stale: bool = False
    due: bool = False


UNDECLARED = Defined(None)
"""A word of a dataset without a dictionary."""


async def select_defined(db: Connection, dictionary: str, words: Sequence[str]) -> list[Defined]:
    """In the order of the words."""
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
    return [_defined(row) for row in rows]


def _defined(row: Any) -> Defined:
    due = row["expired"] is not False and not row["away"]
    if row["state"] is None:
        return Defined("unavailable" if row["away"] else "pending", due=due)
    meanings = None if row["meanings"] is None else msgspec.convert(row["meanings"], list[Definition])
    stale = row["fetched_at"] is not None and (row["expired"] or row["failures"] > 0)
    return Defined(row["state"], row["phonetic"], meanings, row["fetched_at"], stale=stale, due=due)
