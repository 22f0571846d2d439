"""Words that vocabularies are known to have, so that not every chunk must ask about every word."""

from collections.abc import Iterable, Sequence

MOST_WORDS = 300_000
"""Some 30 MB. The most frequent words are met first, so nothing better comes later."""


class Known:
    """Words of the vocabularies that were added to last. A word that was committed once stays in its vocabulary."""

    def __init__(self) -> None:
        self._words: dict[str, set[str]] = {}

    def missing(self, vocabulary: str, words: Sequence[str]) -> list[str]:
        """Those that may not be there."""
        known = self._words.get(vocabulary) or set()
        return [word for word in words if word not in known]

    def learn(self, vocabulary: str, words: Iterable[str]) -> None:
        """These are there, and committed."""
        known: set[str] = self._words.pop(vocabulary, set())
        self._words[vocabulary] = known  # is the last one now
        while len(self._words) > 1 and sum(map(len, self._words.values())) > MOST_WORDS:
            del self._words[next(iter(self._words))]
        if len(known) < MOST_WORDS:
            known.update(words)
