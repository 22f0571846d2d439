"""What the indexer remembers of vocabularies."""

import pytest

from services.indexer.documents import vocabulary_cache
from services.indexer.documents.vocabulary_cache import VocabularyCache


def test_only_what_was_learnt_of_the_same_vocabulary_is_known() -> None:
    words = VocabularyCache()
    words.add("one", ["a", "b"])
    assert words.missing("one", ["a", "b", "c"]) == ["c"]
    assert words.missing("two", ["a", "b", "c"]) == ["a", "b", "c"]


def test_the_vocabulary_that_was_added_to_longest_ago_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_cache, "MAX_WORDS", 4)
    words = VocabularyCache()
    words.add("one", ["a", "b"])
    words.add("two", ["a", "b"])
    words.add("one", ["c"])
    words.add("two", ["c"])
    assert words.missing("one", ["a"]) == ["a"]
    assert words.missing("two", ["a", "c"]) == []


def test_what_is_remembered_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_cache, "MAX_WORDS", 2)
    words = VocabularyCache()
    words.add("one", ["a", "b"])
    words.add("one", ["c"])
    assert words.missing("one", ["a", "b", "c"]) == ["c"]
