"""Queries about definitions of words and the back-off of dictionaries."""

from collections.abc import Mapping, Sequence

import msgspec

from services.indexer.words.dictionary_api import Entry
from shared.contracts.parts import Problem
from shared.db import Connection

FRESH_SECONDS = 86_400.0
BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 60.0, 900.0
"""Time until a retry; doubles with each failure."""
MAX_RETRY_AFTER_SECONDS = 86_400.0
DICTIONARY_LOCK = 0x64696374
LOCK_SECONDS = 120.0


async def lock_dictionary(db: Connection, url: str) -> int:
    """Locks the dictionary until the transaction ends; returns its number of consecutive failures."""
    await db.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", DICTIONARY_LOCK, url, timeout=LOCK_SECONDS)
    return await db.fetchval("SELECT failures FROM dictionaries WHERE url = $1", url) or 0


async def select_due_words(db: Connection, url: str, words: Sequence[str]) -> list[str]:
    """Returns the words to look up now, in the same order: without a current definition. None during a back-off."""
    rows = await db.fetch(
        """
        SELECT w.word FROM unnest($2::text[]) WITH ORDINALITY AS w (word, place)
        LEFT JOIN definitions d ON d.dictionary = $1 AND d.word = w.word
        WHERE (d.word IS NULL OR d.expires_at <= now())
          AND NOT EXISTS (SELECT FROM dictionaries WHERE url = $1 AND retry_at > now())
        ORDER BY w.place
        """,
        url,
        words,
    )
    return [row["word"] for row in rows]


async def upsert_entries(db: Connection, url: str, entries: Mapping[str, Entry | None]) -> None:
    """Stores entries; None marks the word as unknown."""
    await db.execute(
        """
        INSERT INTO definitions (dictionary, word, state, phonetic, meanings, fetched_at, expires_at)
        SELECT $1, word, state, phonetic, meanings, clock_timestamp(), clock_timestamp() + $3 * interval '1 second'
        FROM jsonb_to_recordset($2) AS a (word text, state text, phonetic text, meanings jsonb)
        ON CONFLICT (dictionary, word) DO UPDATE SET state = excluded.state, phonetic = excluded.phonetic,
            meanings = excluded.meanings, failures = 0, fetched_at = excluded.fetched_at,
            expires_at = excluded.expires_at
        """,
        url,
        [_row(word, entry) for word, entry in entries.items()],
        FRESH_SECONDS,
    )


async def upsert_failures(db: Connection, url: str, words: Sequence[str]) -> None:
    """Backs off from words whose lookup failed while others succeeded. Earlier definitions stay."""
    await db.execute(
        """
        INSERT INTO definitions AS d (dictionary, word, state, failures, expires_at)
        SELECT $1, word, 'unavailable', 1, clock_timestamp() + $3::float8 * interval '1 second'
        FROM unnest($2::text[]) AS w (word)
        ON CONFLICT (dictionary, word) DO UPDATE SET failures = d.failures + 1, expires_at =
            clock_timestamp() + least($3::float8 * 2 ^ least(d.failures, 20), $4::float8) * interval '1 second'
        """,
        url,
        words,
        BACKOFF_SECONDS,
        MAX_BACKOFF_SECONDS,
    )


async def upsert_backoff(
    db: Connection, url: str, *, failures: int, retry_after: float | None, problem: Problem
) -> None:
    """Backs off from a dictionary after `failures` in a row, for at least the seconds of its `Retry-After`."""
    backoff = min(BACKOFF_SECONDS * 2 ** min(failures - 1, 20), MAX_BACKOFF_SECONDS)
    await db.execute(
        """
        INSERT INTO dictionaries (url, failures, retry_at, problem)
        VALUES ($1, $2, clock_timestamp() + $3 * interval '1 second', $4)
        ON CONFLICT (url) DO UPDATE
        SET failures = excluded.failures, retry_at = excluded.retry_at, problem = excluded.problem
        """,
        url,
        failures,
        max(backoff, min(retry_after or 0.0, MAX_RETRY_AFTER_SECONDS)),
        msgspec.to_builtins(problem),
    )


async def delete_backoff(db: Connection, url: str) -> None:
    """Ends the back-off of a dictionary that responds again."""
    await db.execute("DELETE FROM dictionaries WHERE url = $1", url)


def _row(word: str, entry: Entry | None) -> dict[str, object]:
    if entry is None:
        return {"word": word, "state": "unknown"}
    return {"word": word, "state": "found", "phonetic": entry.phonetic, "meanings": entry.definitions}
