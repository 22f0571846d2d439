"""Where the words of a question stand in a text, as HTML: everything escaped, and `<mark>` around the words. Pure."""

import unicodedata
from collections.abc import Collection
from html import escape

from shared.search import words

AROUND = 60
"""Characters of text that are shown before and behind a word, to the next space."""
MOST_FRAGMENTS = 3


def fragments(text: str | None, marked: Collection[str], prefixes: Collection[str]) -> list[str]:
    """Pieces of the text with the words that are marked, or begin so: all of a short text, the first of a long one."""
    if not text:
        return []
    text = unicodedata.normalize("NFC", text)
    begins = tuple(prefixes)
    found = [(begin, end) for begin, end, word in words.places(text) if word in marked or word.startswith(begins)]
    pieces: list[tuple[int, int, list[tuple[int, int]]]] = []
    for begin, end in found:
        left, right = _left(text, begin), _right(text, end)
        if pieces and left <= pieces[-1][1]:
            pieces[-1] = (pieces[-1][0], right, [*pieces[-1][2], (begin, end)])
        elif len(pieces) < MOST_FRAGMENTS:
            pieces.append((left, right, [(begin, end)]))
        else:
            break
    return [_written(text, *piece) for piece in pieces]


def _written(text: str, left: int, right: int, places: list[tuple[int, int]]) -> str:
    out, at = ["…" if left else ""], left
    for begin, end in places:
        out += [escape(text[at:begin]), "<mark>", escape(text[begin:end]), "</mark>"]
        at = end
    return "".join([*out, escape(text[at:right]), "…" if right < len(text) else ""])


def _left(text: str, at: int) -> int:
    start = max(0, at - AROUND)
    space = text.find(" ", start, at)
    return start if start == 0 or space < 0 else space + 1


def _right(text: str, at: int) -> int:
    stop = min(len(text), at + AROUND)
    space = text.rfind(" ", at, stop)
    return stop if stop == len(text) or space < 0 else space
