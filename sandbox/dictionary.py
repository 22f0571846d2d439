"""Simulated dictionary API: entries for the words of the paragraphs."""

from sandbox.world import WORDS

PARTS_OF_SPEECH = ("adjective", "noun", "verb", "preposition", "article")


def find_entry(word: str) -> dict[str, object] | None:
    """Returns pronunciation and definition of a word in the format of dictionaryapi.dev; None for an unknown word."""
    for part in PARTS_OF_SPEECH:
        if word.lower() in WORDS[part]:
            phonetic, definition = WORDS[part][word.lower()]
            meanings = [{"partOfSpeech": part, "definitions": [{"definition": definition}]}]
            return {"word": word.lower(), "phonetic": phonetic, "meanings": meanings}
    return None
