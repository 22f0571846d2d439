"""What the indexer remembers of vocabularies."""

import pytest

from services.indexer.documents import vocabulary_cache
from services.indexer.documents.vocabulary_cache import Known


def test_only_what_was_learnt_of_the_same_vocabulary_is_known() -> None:
    words = Known()
    words.learn("one", ["a", "b"])
    assert words.missing("one", ["a", "b", "c"]) == ["c"]
    assert words.missing("two", ["a", "b", "c"]) == ["a", "b", "c"]


def test_the_vocabulary_that_was_added_to_longest_ago_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_cache, "MOST_WORDS", 4)
    words = Known()
    words.learn("one", ["a", "b"])
    words.learn("two", ["a", "b"])
    words.learn("one", ["c"])
    words.learn("two", ["c"])
    assert words.missing("one", ["a"]) == ["a"]
    assert words.missing("two", ["a", "c"]) == []


def test_what_is_remembered_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_cache, "MOST_WORDS", 2)
    words = Known()
    words.learn("one", ["a", "b"])
    words.learn("one", ["c"])
    assert words.missing("one", ["a", "b", "c"]) == ["c"]
