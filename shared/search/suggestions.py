"""Suggestions: words of the dataset that complete the last word of a query."""

import unicodedata

import msgspec

from shared.db import Connection
from shared.reads.indexer.index import select_index
from shared.search import tokenizer, vocabulary


class Suggestion(msgspec.Struct, frozen=True):
    """The completed query, its last word, and the number of documents with that word."""

    q: str
    word: str
    documents: int


async def suggest(db: Connection, dataset: str, q: str, limit: int) -> list[Suggestion]:
    """Returns the most frequent completions first; none if the text does not end with a word."""
    text = unicodedata.normalize("NFC", q)
    found = tokenizer.find_words(text)
    index = await select_index(db, dataset)
    if index is None or not found or found[-1][1] < len(text):
        return []
    start, _, prefix = found[-1]
    words = await vocabulary.select_by_prefix(db, index, prefix, limit)
    return [Suggestion(text[:start] + known.word, known.word, known.documents) for known in words]
