"""The parser of search text, in web search grammar: every text is a valid query. Pure."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from shared.search import tokenizer

PIECE = re.compile(r'(-?)"([^"]*)"?|(\S+)')
MAX_TERMS = 32
"""Terms of a query; the rest is ignored, and the results report it."""


class Term(NamedTuple):
    """A word, or words that must be adjacent. Unless `exact`, each word stands for all with the same stem.

    The last word of a `prefix` term is the prefix of a word.
    """

    words: tuple[str, ...]
    exact: bool = False
    prefix: bool = False


class Clause(NamedTuple):
    """Matches documents with all required terms and without any excluded one."""

    required: tuple[Term, ...]
    excluded: tuple[Term, ...] = ()


class ParsedQuery(NamedTuple):
    """Matches documents that match any clause; `truncated` if it had too many terms."""

    clauses: tuple[Clause, ...]
    truncated: bool = False

    @property
    def terms(self) -> list[Term]:
        """The different terms of all clauses."""
        return list(dict.fromkeys(term for clause in self.clauses for term in (*clause.required, *clause.excluded)))


class Piece(NamedTuple):
    """A quoted phrase, or a run of characters without a space."""

    text: str
    excluded: bool
    quoted: bool


def parse(q: str) -> ParsedQuery:
    """Parses words, `"a phrase"`, `-without`, `prefix*`, and `or` between clauses.

    Pieces without a word are ignored; a piece with several, like `e-mail`, is a phrase.
    """
    clauses: list[Clause] = []
    required: list[Term] = []
    excluded: list[Term] = []
    terms = 0
    for piece in _pieces(q):
        words = tokenizer.tokenize(piece.text)
        if _is_or(piece) and (required or excluded):
            clauses.append(Clause(tuple(required), tuple(excluded)))
            required, excluded = [], []
        elif words and not _is_or(piece) and (terms := terms + 1) <= MAX_TERMS:
            prefix = not piece.quoted and piece.text.endswith("*")
            (excluded if piece.excluded else required).append(Term(tuple(words), prefix=prefix))
    if required or excluded:
        clauses.append(Clause(tuple(required), tuple(excluded)))
    return ParsedQuery(tuple(clauses), truncated=terms > MAX_TERMS)


def parse_exact(words: tuple[str, ...], operator: str) -> ParsedQuery:
    """Returns the query for exact words in any case: all of them (`and`) or any (`or`)."""
    tokens = [tokenizer.tokenize(word) for word in words[:MAX_TERMS]]
    terms = tuple(Term(tuple(found), exact=True) for found in tokens if found)
    clauses = (Clause(terms),) if operator == "and" else tuple(Clause((term,)) for term in terms)
    return ParsedQuery(clauses if terms else (), truncated=len(words) > MAX_TERMS)


def _pieces(q: str) -> Iterator[Piece]:
    for match in PIECE.finditer(q):
        minus, phrase, bare = match.groups()
        if bare is None:
            yield Piece(phrase, minus == "-", quoted=True)
        else:
            yield Piece(bare.removeprefix("-"), bare.startswith("-"), quoted=False)


def _is_or(piece: Piece) -> bool:
    return not piece.quoted and not piece.excluded and piece.text.lower() == "or"
