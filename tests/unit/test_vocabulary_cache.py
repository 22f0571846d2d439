"""The cache of words that vocabularies contain."""

import pytest

from services.indexer.documents import vocabulary_cache
from services.indexer.documents.vocabulary_cache import VocabularyCache


def test_only_words_added_to_the_same_vocabulary_are_cached() -> None:
    cache = VocabularyCache()
    cache.add("one", ["a", "b"])
    assert cache.missing("one", ["a", "b", "c"]) == ["c"]
    assert cache.missing("two", ["a", "b", "c"]) == ["a", "b", "c"]


def test_the_least_recently_updated_vocabulary_is_evicted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_cache, "MAX_WORDS", 4)
    cache = VocabularyCache()
    cache.add("one", ["a", "b"])
    cache.add("two", ["a", "b"])
    cache.add("one", ["c"])
    cache.add("two", ["c"])
    assert cache.missing("one", ["a"]) == ["a"]
    assert cache.missing("two", ["a", "c"]) == []


def test_the_cache_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_cache, "MAX_WORDS", 2)
    cache = VocabularyCache()
    cache.add("one", ["a", "b"])
    cache.add("one", ["c"])
    assert cache.missing("one", ["a", "b", "c"]) == ["c"]
