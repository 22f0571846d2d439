"""Cache of the words that are known to be in a vocabulary, so that chunks insert only new ones."""

from collections.abc import Iterable, Sequence

MAX_WORDS = 300_000
"""About 30 MB. The most frequent words come first, so a full cache needs no replacement."""


class VocabularyCache:
    """Words by vocabulary; evicts the least recently extended vocabulary. A committed word stays in its vocabulary."""

    def __init__(self) -> None:
        self._words: dict[str, set[str]] = {}

    def missing(self, vocabulary: str, words: Sequence[str]) -> list[str]:
        """Returns the words that the vocabulary may lack."""
        cached = self._words.get(vocabulary) or set()
        return [word for word in words if word not in cached]

    def add(self, vocabulary: str, words: Iterable[str]) -> None:
        """Adds words that are committed."""
        cached: set[str] = self._words.pop(vocabulary, set())
        self._words[vocabulary] = cached  # moves it to the end
        while len(self._words) > 1 and sum(map(len, self._words.values())) > MAX_WORDS:
            del self._words[next(iter(self._words))]
        if len(cached) < MAX_WORDS:
            cached.update(words)
