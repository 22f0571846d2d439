"""What the terms of a question mean in a dataset: which of its words they are, and how many documents have them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shared.db import Connection
from shared.search import vocabulary
from shared.search.index import Index
from shared.search.terms import Asked, Clause, Term
from shared.search.vocabulary import Known

NOTHING = "'\u0001'"
"""A word that no document has, so that a question for what is unknown is one that finds nothing."""


class Meaning(NamedTuple):
    """Three `tsquery`s. The `loose` one lets phrases be apart and words be in any field; Postgres answers it faster.

    By `ranking`, without what is unwanted, hits are compared. `words` are what hits have; `documents` is an estimate
    from above of how many of them there are.
    """

    strict: str
    loose: str
    ranking: str
    words: tuple[str, ...]
    prefixes: tuple[str, ...]
    documents: int


Families = Mapping[tuple[str, bool], Sequence[Known]]
"""By word, and whether it is meant as it stands."""


async def select_families(db: Connection, index: Index, asked: Asked) -> dict[tuple[str, bool], list[Known]]:
    """The words that each word of the question stands for."""
    stemmed = {word for term in asked.terms if not term.exact for word in _whole(term)}
    exact = {word for term in asked.terms if term.exact for word in _whole(term)}
    found: dict[tuple[str, bool], list[Known]] = {(word, True): [] for word in exact}
    if stemmed:
        families = await vocabulary.select_families(db, index, sorted(stemmed))
        found |= {(word, False): family for word, family in families.items()}
    if exact:
        for known in await vocabulary.select_known(db, index, sorted(exact)):
            found[known.word, True] = [known]
    for term in asked.terms:
        if term.prefix:
            beginning = term.words[-1]
            documents = await vocabulary.count_beginning(db, index, beginning)
            found[f"{beginning}*", False] = [Known(beginning, documents)]
    return found


def mean(asked: Asked, families: Families, index: Index, fields: Sequence[str]) -> Meaning:
    """With these families, in these fields, or in all of none are given."""
    # What was declared a moment ago may have a field that these documents have not.
    known = [name for name in fields if name in index.search.fields]
    if fields and not known:
        hits = " | ".join(NOTHING if clause.wanted else f"(!{NOTHING})" for clause in asked.clauses) or NOTHING
        return Meaning(hits, hits, NOTHING, (), (), index.rows)
    labels = "".join(sorted({index.label(name) for name in known}))
    writer = _Writer(families, labels, loose=False)
    loose = _Writer(families, labels, loose=True)
    wanted = [term for clause in asked.clauses for term in clause.wanted]
    return Meaning(
        strict=" | ".join(writer.clause(clause) for clause in asked.clauses) or NOTHING,
        loose=" | ".join(loose.clause(clause) for clause in asked.clauses) or NOTHING,
        # To Postgres, what lacks an unwanted word is a bad match.
        ranking=" | ".join(writer.clause(Clause(clause.wanted)) for clause in asked.clauses if clause.wanted)
        or NOTHING,
        words=tuple(dict.fromkeys(k.word for term in wanted for w in _whole(term) for k in families[w, term.exact])),
        prefixes=tuple(dict.fromkeys(term.words[-1] for term in wanted if term.prefix)),
        documents=sum(_documents(clause, families) for clause in asked.clauses),
    )


def _documents(clause: Clause, families: Families) -> int:
    counts = [sum(known.documents for known in families[key]) for term in clause.wanted for key in _keys(term)]
    return min(counts, default=1 << 62)


class _Writer:
    """A loose one looks neither at fields nor at the order of words."""

    def __init__(self, families: Families, labels: str, *, loose: bool) -> None:
        self._families = families
        self._labels = "" if loose else labels
        self._joint = " & " if loose else " <-> "
        self._loosens_all = loose and bool(labels)
        self._loose = loose

    def clause(self, clause: Clause) -> str:
        # What is unwanted as a phrase, or in one field, may well stand apart, or in another.
        unwanted = [term for term in clause.unwanted if not self._is_loosened(term)]
        parts = [self._term(term) for term in clause.wanted] + [f"!{self._term(term)}" for term in unwanted]
        return f"({' & '.join(parts)})" if parts else f"(!{NOTHING})"

    def _is_loosened(self, term: Term) -> bool:
        return self._loosens_all or (self._loose and len(term.words) > 1)

    def _term(self, term: Term) -> str:
        return f"({self._joint.join(self._word(key) for key in _keys(term))})"

    def _word(self, key: tuple[str, bool]) -> str:
        word, _ = key
        if word.endswith("*"):
            return f"'{word[:-1]}':*{self._labels}"
        family = [known.word for known in self._families[key]] or [word]
        suffix = f":{self._labels}" if self._labels else ""
        return "(" + " | ".join(f"'{one}'{suffix}" for one in family) + ")"


def _whole(term: Term) -> tuple[str, ...]:
    return term.words[:-1] if term.prefix else term.words


def _keys(term: Term) -> list[tuple[str, bool]]:
    keys = [(word, term.exact) for word in _whole(term)]
    return [*keys, (f"{term.words[-1]}*", False)] if term.prefix else keys
