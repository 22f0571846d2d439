"""What a word is: a run of letters, digits and underscores, as Unicode has them, in NFC and lower case. Pure."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import chain

LONGEST_WORD = 200
"""Characters; what is longer is known by its beginning. An entry of a B-tree has no room for more."""
MOST_WORDS = 16_383
"""Of a text that are indexed: Postgres knows no later positions in a document."""
AGE = ".".join(unicodedata.unidata_version.split(".")[:2])
RUST = rf"[\w&&\p{{Age={AGE}}}]+"
"""The same words, for Rust's regular expressions: those of letters that Python knows too."""
KINDS = ("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "Pc")
OTHERS = ((0x24B6, 0x24E9), (0x1F130, 0x1F149), (0x1F150, 0x1F169), (0x1F170, 0x1F189), (0x200C, 0x200D))
"""Letters in circles and squares, and what joins letters in some scripts."""
PLANES = (range(0x33000), range(0xE0000, 0xE1000))
"""Where letters are."""


def _pattern() -> re.Pattern[str]:
    r"""Python's own `\w` knows neither marks nor joiners, and takes ½ for a letter."""
    ranges: list[list[int]] = []
    for code in chain(*PLANES):
        if unicodedata.category(chr(code)) in KINDS:
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    bounds = ((re.escape(chr(first)), re.escape(chr(last))) for first, last in (*ranges, *OTHERS))
    return re.compile("[" + "".join(f"{first}-{last}" for first, last in bounds) + "]+")


WORD = _pattern()


def of(text: str) -> list[str]:
    """The words of a text, in order."""
    # Composed last: some small letters have a form with their accent where the capital has none.
    found = WORD.findall(unicodedata.normalize("NFC", text.lower()))
    return [word[:LONGEST_WORD] for word in found[:MOST_WORDS]]


def places(text: str) -> list[tuple[int, int, str]]:
    """Where words stand in a text that is in NFC: begin, end, and the word as `of` gives it."""
    return [
        (found.start(), found.end(), unicodedata.normalize("NFC", found[0].lower())[:LONGEST_WORD])
        for found in WORD.finditer(text)
    ]


def folded(words: Sequence[str]) -> list[str]:
    """Without accents: `café` as `cafe`, so that either is found by the other."""
    return [word if word.isascii() else _fold(word) for word in words]


def _fold(word: str) -> str:
    apart = unicodedata.normalize("NFKD", word)
    # Accents alone: in other scripts a combining mark is part of the letter.
    bare = "".join(letter for letter in apart if not "\u0300" <= letter <= "\u036f")
    # A single letter may come apart into many.
    return unicodedata.normalize("NFC", bare).casefold()[:LONGEST_WORD] or word
