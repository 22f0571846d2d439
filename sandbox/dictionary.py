"""A dictionary of the words that the paragraphs are made of."""

from sandbox.world import WORDS

SORTS = ("adjective", "noun", "verb", "preposition", "article")


def entry(word: str) -> dict[str, object] | None:
    """Sound and meaning of a word, as dictionaryapi.dev would write them; None for one that it does not know."""
    for sort in SORTS:
        if word.lower() in WORDS[sort]:
            phonetic, definition = WORDS[sort][word.lower()]
            meanings = [{"partOfSpeech": sort, "definitions": [{"definition": definition}]}]
            return {"word": word.lower(), "phonetic": phonetic, "meanings": meanings}
    return None
