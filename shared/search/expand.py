"""Expands a parsed query with the vocabulary: the words that each term stands for, and `tsquery`s of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shared.db import Connection
from shared.reads.indexer.index import Index
from shared.search import vocabulary
from shared.search.terms import Clause, ParsedQuery, Term
from shared.search.vocabulary import VocabularyWord

NO_WORD = "'\u0001'"
"""A word that no document has: stands for a query without hits."""
UNBOUNDED = 1 << 62
MIN_DOCUMENTS_PER_WORD = 50
"""Average frequency from which words are found sooner than their prefix: GIN descends its tree for each."""


class Expansion(NamedTuple):
    """Three `tsquery`s, and the words in them.

    `strict` selects the hits. `loose` ignores the order and the fields of words: it selects a superset faster.
    `ranking` scores the hits, without excluded terms. `words` and `prefixes` are those of required terms. `documents`
    is an upper bound of the number of hits; a query of a single word has its number in `single_word_documents`.
    `any_of`, if not empty, is `loose` in parts, one for each word.
    """

    strict: str
    loose: str
    ranking: str
    words: tuple[str, ...]
    prefixes: tuple[str, ...]
    documents: int
    single_word_documents: int | None = None
    any_of: tuple[str, ...] = ()


class TermKey(NamedTuple):
    """A word of a query, exact or with all that share its stem. A prefix ends with `*`."""

    word: str
    exact: bool


Variants = Mapping[TermKey, Sequence[VocabularyWord]]
"""The words of the vocabulary that each word of the query stands for."""


async def select_variants(db: Connection, index: Index, query: ParsedQuery) -> dict[TermKey, list[VocabularyWord]]:
    """Selects the variants of all words of the query."""
    stemmed = {word for term in query.terms if not term.exact for word in _whole_words(term)}
    exact = {word for term in query.terms if term.exact for word in _whole_words(term)}
    variants: dict[TermKey, list[VocabularyWord]] = {TermKey(word, exact=True): [] for word in exact}
    if stemmed:
        found = await vocabulary.select_variants(db, index, sorted(stemmed))
        variants |= {TermKey(word, exact=False): words for word, words in found.items()}
    if exact:
        for word in await vocabulary.select_words(db, index, sorted(exact)):
            variants[TermKey(word.word, exact=True)] = [word]
    for term in query.terms:
        if term.prefix:
            prefix = term.words[-1]
            found_words = await vocabulary.select_prefix_variants(db, index, prefix)
            variants[TermKey(f"{prefix}*", exact=False)] = found_words
    return variants


def expand(query: ParsedQuery, variants: Variants, index: Index, fields: Sequence[str]) -> Expansion:
    """Expands the query, restricted to these fields, if any."""
    # A new declaration may have a field that this generation lacks.
    indexed = [name for name in fields if name in index.search.fields]
    if fields and not indexed:
        hits = " | ".join(NO_WORD if clause.required else f"(!{NO_WORD})" for clause in query.clauses) or NO_WORD
        return Expansion(hits, hits, NO_WORD, (), (), index.rows)
    labels = "".join(sorted({index.label(name) for name in indexed}))
    strict = _TsqueryWriter(variants, labels, loose=False)
    loose = _TsqueryWriter(variants, labels, loose=True)
    required = [term for clause in query.clauses for term in clause.required]
    words = {word.word: word.documents for term in required for key in _whole_keys(term) for word in variants[key]}
    prefixes = tuple(dict.fromkeys(term.words[-1] for term in required if term.prefix))
    is_single = len(words) == len(variants) == 1 and not prefixes and not any(c.excluded for c in query.clauses)
    return Expansion(
        strict=" | ".join(strict.clause(clause) for clause in query.clauses) or NO_WORD,
        loose=" | ".join(loose.clause(clause) for clause in query.clauses) or NO_WORD,
        # Postgres scores a document lower for lacking an excluded word.
        ranking=" | ".join(strict.clause(Clause(clause.required)) for clause in query.clauses if clause.required)
        or NO_WORD,
        words=tuple(words),
        prefixes=prefixes,
        documents=sum(_max_documents(clause, variants) for clause in query.clauses),
        single_word_documents=next(iter(words.values())) if is_single else None,
        any_of=_words_of_prefix(query, variants),
    )


def _words_of_prefix(query: ParsedQuery, variants: Variants) -> tuple[str, ...]:
    """Returns the words of a query of one prefix, if GIN finds them sooner: it collects and sorts a prefix twice."""
    if len(query.clauses) != 1 or query.clauses[0].excluded or len(query.clauses[0].required) != 1:
        return ()
    (term,) = query.clauses[0].required
    if not term.prefix or len(term.words) != 1:
        return ()
    words = variants[_keys(term)[0]]
    if sum(word.documents for word in words) < MIN_DOCUMENTS_PER_WORD * len(words):
        return ()
    return tuple(f"'{word.word[:-1]}':*" if word.word.endswith("*") else f"'{word.word}'" for word in words)


def _max_documents(clause: Clause, variants: Variants) -> int:
    counts = [sum(word.documents for word in variants[key]) for term in clause.required for key in _keys(term)]
    return min(counts, default=UNBOUNDED)


class _TsqueryWriter:
    """Writes clauses as `tsquery`; a loose one ignores fields and the order of words."""

    def __init__(self, variants: Variants, labels: str, *, loose: bool) -> None:
        self._variants = variants
        self._labels = "" if loose else labels
        self._operator = " & " if loose else " <-> "
        self._loosens_all = loose and bool(labels)
        self._loose = loose

    def clause(self, clause: Clause) -> str:
        # A loosened excluded term would exclude hits: documents with its words apart, or in another field.
        excluded = [term for term in clause.excluded if not self._is_loosened(term)]
        parts = [self._term(term) for term in clause.required] + [f"!{self._term(term)}" for term in excluded]
        return f"({' & '.join(parts)})" if parts else f"(!{NO_WORD})"

    def _is_loosened(self, term: Term) -> bool:
        return self._loosens_all or (self._loose and len(term.words) > 1)

    def _term(self, term: Term) -> str:
        return f"({self._operator.join(self._word(key) for key in _keys(term))})"

    def _word(self, key: TermKey) -> str:
        if key.word.endswith("*"):
            return f"'{key.word[:-1]}':*{self._labels}"
        words = [variant.word for variant in self._variants[key]] or [key.word]
        suffix = f":{self._labels}" if self._labels else ""
        return "(" + " | ".join(f"'{word}'{suffix}" for word in words) + ")"


def _whole_words(term: Term) -> tuple[str, ...]:
    return term.words[:-1] if term.prefix else term.words


def _whole_keys(term: Term) -> list[TermKey]:
    return [TermKey(word, term.exact) for word in _whole_words(term)]


def _keys(term: Term) -> list[TermKey]:
    keys = _whole_keys(term)
    return [*keys, TermKey(f"{term.words[-1]}*", exact=False)] if term.prefix else keys
