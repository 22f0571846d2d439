"""How a question may go on: the dataset's own words that begin like its last one."""

import unicodedata

import msgspec

from shared.db import Connection
from shared.search import vocabulary, words
from shared.search.index import select_index


class Suggestion(msgspec.Struct, frozen=True):
    """The whole question, the word it ends with, and in how many documents that stands."""

    q: str
    word: str
    documents: int


async def complete(db: Connection, dataset: str, q: str, limit: int) -> list[Suggestion]:
    """The most frequent words first; none if the text doesn't end within a word."""
    text = unicodedata.normalize("NFC", q)
    places = words.places(text)
    index = await select_index(db, dataset)
    if index is None or not places or places[-1][1] < len(text):
        return []
    begin, _, beginning = places[-1]
    known = await vocabulary.select_beginning(db, index, beginning, limit)
    return [Suggestion(text[:begin] + one.word, one.word, one.documents) for one in known]
