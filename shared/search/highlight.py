"""Highlighting: fragments of a text as escaped HTML, with `<mark>` around the matched words. Pure."""

import unicodedata
from collections.abc import Collection
from html import escape

from shared.search import tokenizer

CONTEXT = 60
"""Characters that are shown before and after a word, cut at a space."""
MAX_FRAGMENTS = 3


def highlight(text: str | None, words: Collection[str], prefixes: Collection[str]) -> list[str]:
    """Returns the first fragments of the text that contain one of the words, or a word with one of the prefixes."""
    if not text:
        return []
    text = unicodedata.normalize("NFC", text)
    starts = tuple(prefixes)
    matches = [
        (start, end) for start, end, word in tokenizer.find_words(text) if word in words or word.startswith(starts)
    ]
    fragments: list[tuple[int, int, list[tuple[int, int]]]] = []
    for start, end in matches:
        left, right = _left(text, start), _right(text, end)
        if fragments and left <= fragments[-1][1]:
            fragments[-1] = (fragments[-1][0], right, [*fragments[-1][2], (start, end)])
        elif len(fragments) < MAX_FRAGMENTS:
            fragments.append((left, right, [(start, end)]))
        else:
            break
    return [_render(text, *fragment) for fragment in fragments]


def _render(text: str, left: int, right: int, matches: list[tuple[int, int]]) -> str:
    out, at = ["…" if left else ""], left
    for start, end in matches:
        out += [escape(text[at:start]), "<mark>", escape(text[start:end]), "</mark>"]
        at = end
    return "".join([*out, escape(text[at:right]), "…" if right < len(text) else ""])


def _left(text: str, at: int) -> int:
    start = max(0, at - CONTEXT)
    space = text.find(" ", start, at)
    return start if start == 0 or space < 0 else space + 1


def _right(text: str, at: int) -> int:
    stop = min(len(text), at + CONTEXT)
    space = text.rfind(" ", at, stop)
    return stop if stop == len(text) or space < 0 else space
