"""Misspelt words: those of the dataset's own words that are near one that is hardly there."""

import string
from collections.abc import Sequence

from rapidfuzz import process
from rapidfuzz.distance import OSA

from shared.db import Connection
from shared.search import vocabulary, words
from shared.search.expand import Families
from shared.search.index import Index
from shared.search.query import Correction
from shared.search.terms import Asked
from shared.search.vocabulary import Known

SHORTEST, LONGEST = 4, 40
"""Letters of a word that may be misspelt: a shorter one is near many others, a longer one is hardly a word."""
LONG = 8
"""Letters from which on two may be wrong."""
RARE = 3
"""Documents: a word that stands in more is taken as it is."""
COMMONER = 5
"""A word is only corrected to ones that are so many times as frequent."""
NEAR = 5000
"""Words with the same two first letters that are looked through."""
MOST_CORRECTIONS = 3
LETTERS = string.ascii_lowercase + string.digits


async def correct(
    db: Connection, index: Index, asked: Asked, families: Families
) -> tuple[dict[tuple[str, bool], Sequence[Known]], list[Correction]]:
    """The families, those of rare words widened by what may have been meant; and which that were."""
    wider: dict[tuple[str, bool], Sequence[Known]] = dict(families)
    corrections = []
    wanted = {word for clause in asked.clauses for term in clause.wanted if not term.exact for word in term.words}
    # With more words that are not wanted, even less would be found.
    unwanted = {word for clause in asked.clauses for term in clause.unwanted for word in term.words}
    for word in sorted(wanted - unwanted):
        family = families.get((word, False))
        (bare,) = words.folded([word])
        if family is None or not SHORTEST <= len(bare) <= LONGEST or any(letter.isdigit() for letter in word):
            continue
        own = sum(known.documents for known in family)
        if own > RARE:
            continue
        near = [known for known in await _near(db, index, bare) if known.documents > max(own, 1) * COMMONER or not own]
        if near:
            meant = await vocabulary.select_families(db, index, [known.word for known in near])
            found = [known for one in meant.values() for known in one]
            wider[word, False] = [*family, *(known for known in dict.fromkeys(found) if known not in family)]
            corrections.append(Correction(word, [known.word for known in near]))
    return wider, corrections


async def _near(db: Connection, index: Index, word: str) -> list[Known]:
    """The nearest, and of those that are equally near, the most frequent."""
    edits = 2 if len(word) >= LONG else 1
    one_off = await vocabulary.select_known(db, index, _one_off(word))
    alike = await vocabulary.select_beginning(db, index, word[:2], NEAR) if edits > 1 or not word.isascii() else []
    known = {one.word: one for one in [*one_off, *alike] if one.documents and one.word != word}
    found = process.extract(word, list(known), scorer=OSA.distance, score_cutoff=edits, limit=None)
    if not found:
        return []
    least = min(distance for _, distance, _ in found)
    nearest = [known[name] for name, distance, _ in found if distance == least]
    return sorted(nearest, key=lambda one: (-one.documents, one.word))[:MOST_CORRECTIONS]


def _one_off(word: str) -> list[str]:
    """All that differ from the word by one letter: one too many, one missing, another, or two exchanged."""
    cuts = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    found = {left + right[1:] for left, right in cuts if right}
    found |= {left + right[1] + right[0] + right[2:] for left, right in cuts if len(right) > 1}
    found |= {left + letter + right[1:] for left, right in cuts if right for letter in LETTERS}
    found |= {left + letter + right for left, right in cuts for letter in LETTERS}
    return sorted(found - {word})
