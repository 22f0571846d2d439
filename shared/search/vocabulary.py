"""The words of a dataset. A stand-in that counts them anew each time, until the indexer keeps them."""

import msgspec

from shared.db import Connection


class Frequent(msgspec.Struct, frozen=True):
    """A word with the number of documents that have it, and how often it stands there in all."""

    word: str
    documents: int
    occurrences: int


async def select_frequent(db: Connection, dataset: str, *, limit: int, without: str | None) -> list[Frequent]:
    """The most frequent first; `without` is a text search dictionary of Postgres whose stop words are left out."""
    rows = await db.fetch(
        f"""
        SELECT word, documents, occurrences FROM ({await _words(db, dataset)}) w
        WHERE $2::text IS NULL OR ts_lexize($2::regdictionary, word) IS DISTINCT FROM '{{}}'
        ORDER BY occurrences DESC, word LIMIT $1
        """,
        limit,
        without,
    )
    return [Frequent(**row) for row in rows]


async def count_words(db: Connection, dataset: str) -> int:
    """How many different ones there are."""
    total: int = await db.fetchval(f"SELECT count(*) FROM ({await _words(db, dataset)}) w")
    return total


async def select_counted_version(db: Connection, dataset: str) -> int:
    """The version of the dataset up to which its words are counted."""
    version: int = await db.fetchval("SELECT version FROM ingestor.datasets WHERE name = $1", dataset)
    return version


async def _words(db: Connection, dataset: str) -> str:
    fields = await db.fetchval("SELECT declaration->'search'->'fields' FROM ingestor.datasets WHERE name = $1", dataset)
    text = ", ".join(f'"{name}"' for name in fields)
    return f"""
        SELECT word, count(DISTINCT number) AS documents, count(*) AS occurrences
        FROM (SELECT row_number() OVER () AS number, concat_ws(' ', {text}) AS text FROM data."{dataset}") r,
             LATERAL (SELECT m[1] AS word FROM regexp_matches(lower(text), '\\w+', 'g') m) w
        GROUP BY word
    """
