"""The words of a dataset: which of them a question means, how frequent they are, which are near a misspelt one."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from shared.db import Connection
from shared.search import words
from shared.search.index import Index, select_index

LARGEST_FAMILY = 100
"""Words with one stem that a question is widened to: the most frequent."""
LAST_LETTER = "\U0010ffff"


class Frequent(msgspec.Struct, frozen=True):
    """A word, in how many documents it stands, and how often in all."""

    word: str
    documents: int
    occurrences: int


class Known(NamedTuple):
    """A word of the vocabulary, and in how many documents it stands."""

    word: str
    documents: int


async def select_families(db: Connection, index: Index, asked: Sequence[str]) -> dict[str, list[Known]]:
    """For each of these words, those that share its stem, the most frequent first; accents don't matter."""
    rows = await db.fetch(
        f"""
        SELECT n.word AS asked, w.word, w.documents
        FROM unnest($1::text[], $2::text[]) AS n (word, folded), LATERAL (
            SELECT word, documents FROM {index.words}
            WHERE lexeme = coalesce((ts_lexize($3::text::regdictionary, n.folded))[1], n.folded)
            ORDER BY documents DESC, word LIMIT $4
        ) w
        """,
        list(asked),
        words.folded(asked),
        index.search.stemmer,
        LARGEST_FAMILY,
    )
    found: dict[str, list[Known]] = {word: [] for word in asked}
    for row in rows:
        found[row["asked"]].append(Known(row["word"], row["documents"]))
    return found


async def select_known(db: Connection, index: Index, asked: Sequence[str]) -> list[Known]:
    """Those of the words that the vocabulary has, as they stand."""
    rows = await db.fetch(f"SELECT word, documents FROM {index.words} WHERE word = ANY($1::text[])", list(asked))
    return [Known(row["word"], row["documents"]) for row in rows]


async def select_beginning(db: Connection, index: Index, beginning: str, limit: int) -> list[Known]:
    """The most frequent words that begin so."""
    rows = await db.fetch(
        f"""
        SELECT word, documents FROM {index.words} WHERE word >= $1 AND word < $2 AND documents > 0
        ORDER BY documents DESC, word LIMIT $3
        """,
        beginning,
        beginning + LAST_LETTER,
        limit,
    )
    return [Known(row["word"], row["documents"]) for row in rows]


async def count_beginning(db: Connection, index: Index, beginning: str) -> int:
    """In how many documents words stand that begin so; a document with several counts several times."""
    documents: int = await db.fetchval(
        f"SELECT coalesce(sum(documents), 0)::bigint FROM {index.words} WHERE word >= $1 AND word < $2",
        beginning,
        beginning + LAST_LETTER,
    )
    return documents


async def select_frequent(db: Connection, dataset: str, *, limit: int, without: str | None) -> list[Frequent]:
    """The most frequent words, without the stop words of a Postgres dictionary if one is named."""
    index = await select_index(db, dataset)
    if index is None:
        return []
    rows = await db.fetch(
        f"""
        SELECT word, documents, occurrences FROM {index.words}
        WHERE occurrences > 0 AND ($2::text IS NULL OR ts_lexize($2::text::regdictionary, word) <> '{{}}')
        ORDER BY occurrences DESC, word LIMIT $1
        """,
        limit,
        without,
    )
    return [Frequent(**row) for row in rows]


async def count_words(db: Connection, dataset: str) -> int:
    """How many different ones there are."""
    count: int | None = await db.fetchval(
        "SELECT words FROM indexer.indexes WHERE dataset = $1 AND state = 'serving'", dataset
    )
    return count or 0
