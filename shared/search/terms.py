"""A text as people write it into a search box, as terms. Any text is a question. Pure."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from shared.search import words

PIECE = re.compile(r'(-?)"([^"]*)"?|(\S+)')
MOST_TERMS = 32
"""Of one question; what follows is left out, and the answer says so."""


class Term(NamedTuple):
    """Words that follow each other; `exact` ones as they stand, others with all that share their stem.

    Of a `prefix` term, the last word is the beginning of one.
    """

    words: tuple[str, ...]
    exact: bool = False
    prefix: bool = False


class Clause(NamedTuple):
    """Every wanted term, and none of the unwanted."""

    wanted: tuple[Term, ...]
    unwanted: tuple[Term, ...] = ()


class Asked(NamedTuple):
    """Any of the clauses; `cut` if terms were left out because they were too many."""

    clauses: tuple[Clause, ...]
    cut: bool = False

    @property
    def terms(self) -> list[Term]:
        """All of them, each once."""
        return list(dict.fromkeys(term for clause in self.clauses for term in (*clause.wanted, *clause.unwanted)))


class Piece(NamedTuple):
    """A word, a phrase, or what stands between spaces."""

    text: str
    unwanted: bool
    quoted: bool


def read(q: str) -> Asked:
    """Web search grammar: words, `"a phrase"`, `-without`, `begin*`, and `or` between what it separates.

    What is no word is passed over; several words without a space between, as in `e-mail`, are a phrase.
    """
    pieces = list(_pieces(q))
    split = [words.of(piece.text) for piece in pieces]
    clauses: list[Clause] = []
    wanted: list[Term] = []
    unwanted: list[Term] = []
    terms = 0
    for piece, found in zip(pieces, split, strict=True):
        if _separates(piece) and (wanted or unwanted):
            clauses.append(Clause(tuple(wanted), tuple(unwanted)))
            wanted, unwanted = [], []
        elif found and not _separates(piece) and (terms := terms + 1) <= MOST_TERMS:
            prefix = not piece.quoted and piece.text.endswith("*")
            (unwanted if piece.unwanted else wanted).append(Term(tuple(found), prefix=prefix))
    if wanted or unwanted:
        clauses.append(Clause(tuple(wanted), tuple(unwanted)))
    return Asked(tuple(clauses), cut=terms > MOST_TERMS)


def exactly(asked: tuple[str, ...], operator: str) -> Asked:
    """These words as they stand, whatever their case: all of them (`and`) or any (`or`)."""
    split = [words.of(word) for word in asked[:MOST_TERMS]]
    terms = tuple(Term(tuple(found), exact=True) for found in split if found)
    clauses = (Clause(terms),) if operator == "and" else tuple(Clause((term,)) for term in terms)
    return Asked(clauses if terms else (), cut=len(asked) > MOST_TERMS)


def _pieces(q: str) -> Iterator[Piece]:
    for match in PIECE.finditer(q):
        minus, phrase, bare = match.groups()
        if bare is None:
            yield Piece(phrase, minus == "-", quoted=True)
        else:
            yield Piece(bare.removeprefix("-"), bare.startswith("-"), quoted=False)


def _separates(piece: Piece) -> bool:
    return not piece.quoted and not piece.unwanted and piece.text.lower() == "or"
