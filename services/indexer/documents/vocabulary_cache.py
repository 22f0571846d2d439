"""Cache of words that vocabularies contain, which saves most lookups when chunks are indexed."""

from collections.abc import Iterable, Sequence

MAX_WORDS = 300_000
"""About 30 MB. The cache keeps the first words it sees, which include the most frequent ones."""


class VocabularyCache:
    """Committed words by vocabulary; evicts the least recently updated vocabularies.

    Entries never become stale: vocabularies only grow, and one that was emptied gets a new id.
    """

    def __init__(self) -> None:
        self._words: dict[str, set[str]] = {}

    def missing(self, vocabulary: str, words: Sequence[str]) -> list[str]:
        """Returns the words that are not cached; the vocabulary may still contain them."""
        cached = self._words.get(vocabulary) or set()
        return [word for word in words if word not in cached]

    def add(self, vocabulary: str, words: Iterable[str]) -> None:
        """Caches committed words of the vocabulary."""
        cached: set[str] = self._words.pop(vocabulary, set())
        self._words[vocabulary] = cached  # moves to the end, as the most recently updated
        while len(self._words) > 1 and sum(map(len, self._words.values())) > MAX_WORDS:
            del self._words[next(iter(self._words))]
        if len(cached) < MAX_WORDS:
            cached.update(words)
