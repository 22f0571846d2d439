"""The tokenizer: a word is a run of Unicode letters, digits and underscores, in NFC and lower case. Pure."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import chain

MAX_WORD_LENGTH = 200
"""Characters; a longer word is cut. An entry of a B-tree has no room for more."""
MAX_WORDS = 16_383
"""Words of a text that are indexed: Postgres knows no later positions in a document."""
UNICODE = ".".join(unicodedata.unidata_version.split(".")[:2])
RUST_WORD = rf"[\w&&\p{{Age={UNICODE}}}]+"
"""The same words for Rust's regular expressions, without letters that are newer than Python's Unicode."""
CATEGORIES = ("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "Pc")
OTHER_LETTERS = ((0x24B6, 0x24E9), (0x1F130, 0x1F149), (0x1F150, 0x1F169), (0x1F170, 0x1F189), (0x200C, 0x200D))
"""Letters in circles and squares, and the joiners of some scripts."""
CODE_POINTS = (range(0x33000), range(0xE0000, 0xE1000))
"""Ranges that contain letters."""


def _pattern() -> re.Pattern[str]:
    r"""Compiles the pattern of a word. Python's own `\w` excludes marks and joiners, and includes ½."""
    ranges: list[list[int]] = []
    for code in chain(*CODE_POINTS):
        if unicodedata.category(chr(code)) in CATEGORIES:
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    bounds = ((re.escape(chr(first)), re.escape(chr(last))) for first, last in (*ranges, *OTHER_LETTERS))
    return re.compile("[" + "".join(f"{first}-{last}" for first, last in bounds) + "]+")


WORD = _pattern()


def tokenize(text: str) -> list[str]:
    """Returns the words of a text, in order."""
    # Composed last: some small letters have a form with their accent where the capital has none.
    words = WORD.findall(unicodedata.normalize("NFC", text.lower()))
    return [word[:MAX_WORD_LENGTH] for word in words[:MAX_WORDS]]


def find_words(text: str) -> list[tuple[int, int, str]]:
    """Returns start, end and normalized form of each word of a text in NFC."""
    return [
        (match.start(), match.end(), unicodedata.normalize("NFC", match[0].lower())[:MAX_WORD_LENGTH])
        for match in WORD.finditer(text)
    ]


def fold_accents(words: Sequence[str]) -> list[str]:
    """Returns the words without accents: `café` as `cafe`, so that each matches the other."""
    return [word if word.isascii() else _fold(word) for word in words]


def _fold(word: str) -> str:
    decomposed = unicodedata.normalize("NFKD", word)
    # Accents only: in other scripts a combining mark is part of the letter.
    bare = "".join(letter for letter in decomposed if not "\u0300" <= letter <= "\u036f")
    # A single letter may decompose into many.
    return unicodedata.normalize("NFC", bare).casefold()[:MAX_WORD_LENGTH] or word
