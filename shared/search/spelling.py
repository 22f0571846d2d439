"""Spelling correction: similar words of the dataset, for words of a query that it hardly has."""

import string
from collections.abc import Sequence

from rapidfuzz import process
from rapidfuzz.distance import OSA

from shared.db import Connection
from shared.reads.indexer.index import Index
from shared.search import tokenizer, vocabulary
from shared.search.expand import TermKey, Variants
from shared.search.query import Correction
from shared.search.terms import ParsedQuery
from shared.search.vocabulary import VocabularyWord

MIN_LETTERS, MAX_LETTERS = 4, 40
"""Length of words that are corrected: a shorter one is similar to many others, a longer one is hardly a word."""
TWO_EDITS_LETTERS = 8
"""Length from which two edits are tried."""
RARE_DOCUMENTS = 3
"""Words with a higher document frequency are not corrected."""
MIN_RATIO = 5
"""A correction is more than this many times as frequent as the word."""
MAX_CANDIDATES = 5000
"""Words with the same first two letters that are compared."""
MAX_CORRECTIONS = 3
LETTERS = string.ascii_lowercase + string.digits


async def correct(
    db: Connection, index: Index, query: ParsedQuery, variants: Variants
) -> tuple[dict[TermKey, Sequence[VocabularyWord]], list[Correction]]:
    """Returns the variants, those of rare words with corrections added, and the corrections."""
    corrected: dict[TermKey, Sequence[VocabularyWord]] = dict(variants)
    corrections = []
    required = {word for clause in query.clauses for term in clause.required if not term.exact for word in term.words}
    # Corrected excluded words would exclude even more hits.
    excluded = {word for clause in query.clauses for term in clause.excluded for word in term.words}
    for word in sorted(required - excluded):
        known = variants.get(TermKey(word, exact=False))
        (bare,) = tokenizer.fold_accents([word])
        if known is None or not MIN_LETTERS <= len(bare) <= MAX_LETTERS or any(letter.isdigit() for letter in word):
            continue
        documents = sum(variant.documents for variant in known)
        if documents > RARE_DOCUMENTS:
            continue
        similar = [
            candidate
            for candidate in await _select_similar(db, index, bare)
            if candidate.documents > max(documents, 1) * MIN_RATIO or not documents
        ]
        if similar:
            added = await vocabulary.select_variants(db, index, [candidate.word for candidate in similar])
            unique = dict.fromkeys(variant for group in added.values() for variant in group)
            corrected[TermKey(word, exact=False)] = [*known, *(variant for variant in unique if variant not in known)]
            corrections.append(Correction(word, [candidate.word for candidate in similar]))
    return corrected, corrections


async def _select_similar(db: Connection, index: Index, word: str) -> list[VocabularyWord]:
    """Selects the words with the smallest edit distance, the most frequent first."""
    edits = 2 if len(word) >= TWO_EDITS_LETTERS else 1
    found = await vocabulary.select_words(db, index, _single_edits(word))
    if edits > 1 or not word.isascii():
        found += await vocabulary.select_by_prefix(db, index, word[:2], MAX_CANDIDATES)
    candidates = {candidate.word: candidate for candidate in found if candidate.documents and candidate.word != word}
    scored = process.extract(word, list(candidates), scorer=OSA.distance, score_cutoff=edits, limit=None)
    if not scored:
        return []
    least = min(distance for _, distance, _ in scored)
    nearest = [candidates[name] for name, distance, _ in scored if distance == least]
    return sorted(nearest, key=lambda candidate: (-candidate.documents, candidate.word))[:MAX_CORRECTIONS]


def _single_edits(word: str) -> list[str]:
    """Returns all words at edit distance 1: a deletion, a transposition, a substitution or an insertion."""
    splits = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    edits = {left + right[1:] for left, right in splits if right}
    edits |= {left + right[1] + right[0] + right[2:] for left, right in splits if len(right) > 1}
    edits |= {left + letter + right[1:] for left, right in splits if right for letter in LETTERS}
    edits |= {left + letter + right for left, right in splits for letter in LETTERS}
    return sorted(edits - {word})
