"""Queries about the vocabulary: the words of a dataset, with their frequencies."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from shared.db import Connection
from shared.reads.indexer.index import Index, select_index
from shared.search import tokenizer

MAX_VARIANTS = 100
"""Words with the same stem that a word of a query is expanded to: the most frequent."""
MAX_PREFIX_VARIANTS = 200
"""Words that a prefix is expanded to; a prefix of more stays one."""
LAST_CHARACTER = "\U0010ffff"


class FrequentWord(msgspec.Struct, frozen=True):
    """A word, its document frequency, and its total number of occurrences."""

    word: str
    documents: int
    occurrences: int


class VocabularyWord(NamedTuple):
    """A word of the vocabulary, and its document frequency."""

    word: str
    documents: int


async def select_variants(db: Connection, index: Index, words: Sequence[str]) -> dict[str, list[VocabularyWord]]:
    """Selects, for each word, all words with the same stem, the most frequent first. Accents are ignored."""
    rows = await db.fetch(
        f"""
        SELECT n.word AS searched, w.word, w.documents
        FROM unnest($1::text[], $2::text[]) AS n (word, folded), LATERAL (
            SELECT word, documents FROM {index.words}
            WHERE lexeme = coalesce((ts_lexize($3::text::regdictionary, n.folded))[1], n.folded)
            ORDER BY documents DESC, word LIMIT $4
        ) w
        """,
        list(words),
        tokenizer.fold_accents(words),
        index.search.stemmer,
        MAX_VARIANTS,
    )
    variants: dict[str, list[VocabularyWord]] = {word: [] for word in words}
    for row in rows:
        variants[row["searched"]].append(VocabularyWord(row["word"], row["documents"]))
    return variants


async def select_words(db: Connection, index: Index, words: Sequence[str]) -> list[VocabularyWord]:
    """Selects those of the words that the vocabulary has, unchanged."""
    rows = await db.fetch(f"SELECT word, documents FROM {index.words} WHERE word = ANY($1::text[])", list(words))
    return [VocabularyWord(row["word"], row["documents"]) for row in rows]


async def select_by_prefix(db: Connection, index: Index, prefix: str, limit: int) -> list[VocabularyWord]:
    """Selects the most frequent words with the prefix."""
    rows = await db.fetch(
        f"""
        SELECT word, documents FROM {index.words} WHERE word >= $1 AND word < $2 AND documents > 0
        ORDER BY documents DESC, word LIMIT $3
        """,
        prefix,
        prefix + LAST_CHARACTER,
        limit,
    )
    return [VocabularyWord(row["word"], row["documents"]) for row in rows]


async def select_prefix_variants(db: Connection, index: Index, prefix: str) -> list[VocabularyWord]:
    """Selects all words with the prefix. If they are too many, returns `prefix*`, with the sum of their frequencies."""
    words = f"SELECT word, documents FROM {index.words} WHERE word >= $1 AND word < $2"
    (row,) = await db.fetch(
        f"""
        SELECT array_agg(word) AS words, array_agg(documents) AS documents,
               (SELECT coalesce(sum(documents), 0)::bigint FROM ({words}) a) AS total
        FROM ({words} LIMIT {MAX_PREFIX_VARIANTS + 1}) w
        """,
        prefix,
        prefix + LAST_CHARACTER,
    )
    found = row["words"] or ()
    if len(found) > MAX_PREFIX_VARIANTS:
        return [VocabularyWord(f"{prefix}*", row["total"])]
    return [VocabularyWord(*each) for each in zip(found, row["documents"] or (), strict=True)]


async def select_frequent(
    db: Connection, dataset: str, *, limit: int, stop_dictionary: str | None
) -> list[FrequentWord]:
    """Selects the most frequent words, without the stop words of a text search dictionary if one is given."""
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
        stop_dictionary,
    )
    return [FrequentWord(**row) for row in rows]
