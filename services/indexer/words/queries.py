"""What the indexer remembers of dictionaries: definitions with their age, and when one that is away may be asked."""

from collections.abc import Mapping, Sequence

import msgspec

from services.indexer.words.dictionary_api import Entry
from shared.catalog.dataset import Dataset
from shared.contracts.parts import Problem
from shared.db import Connection

FRESH_SECONDS = 86_400.0
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 60.0, 900.0
"""Until what failed is tried again: doubled with each failure."""
LONGEST_ASKED_SECONDS = 86_400.0
ASKING = 0x64696374
LOCK_SECONDS = 120.0


async def select_datasets(db: Connection) -> list[tuple[Dataset, int]]:
    """Those that declare a dictionary, with their versions."""
    rows = await db.fetch(
        "SELECT declaration, version FROM ingestor.datasets WHERE declaration->'dictionary' IS NOT NULL ORDER BY name"
    )
    return [(msgspec.convert(row["declaration"], Dataset), row["version"]) for row in rows]


async def lock_dictionary(db: Connection, url: str) -> int:
    """One transaction at a time asks it. Returns how often in a row it has failed."""
    await db.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", ASKING, url, timeout=LOCK_SECONDS)
    return await db.fetchval("SELECT failures FROM dictionaries WHERE url = $1", url) or 0


async def select_lacking(db: Connection, url: str, words: Sequence[str]) -> list[str]:
    """Those of the words that are to be asked for now, in the same order; none while it is left in peace."""
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


async def upsert_answers(db: Connection, url: str, answers: Mapping[str, Entry | None]) -> None:
    """What was said now, also of words that are not known."""
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
        [_row(word, entry) for word, entry in answers.items()],
        FRESH_SECONDS,
    )


async def upsert_failures(db: Connection, url: str, words: Sequence[str]) -> None:
    """Asked for in vain, though the dictionary did answer about others. What it has said earlier stands."""
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
        PAUSE_SECONDS,
        LONGEST_PAUSE_SECONDS,
    )


async def put_off(db: Connection, url: str, *, failures: int, asked: float | None, problem: Problem) -> None:
    """The dictionary has failed so often in a row: it is left in peace for a while, or for as long as it has asked."""
    usual = min(PAUSE_SECONDS * 2 ** min(failures - 1, 20), LONGEST_PAUSE_SECONDS)
    await db.execute(
        """
        INSERT INTO dictionaries (url, failures, retry_at, problem)
        VALUES ($1, $2, clock_timestamp() + $3 * interval '1 second', $4)
        ON CONFLICT (url) DO UPDATE
        SET failures = excluded.failures, retry_at = excluded.retry_at, problem = excluded.problem
        """,
        url,
        failures,
        max(usual, min(asked or 0.0, LONGEST_ASKED_SECONDS)),
        msgspec.to_builtins(problem),
    )


async def delete_pause(db: Connection, url: str) -> None:
    """It has answered."""
    await db.execute("DELETE FROM dictionaries WHERE url = $1", url)


def _row(word: str, entry: Entry | None) -> dict[str, object]:
    if entry is None:
        return {"word": word, "state": "unknown"}
    return {"word": word, "state": "found", "phonetic": entry.phonetic, "meanings": entry.definitions}
