"""The generated documents and queries of the search measurements, and the statistics."""

import itertools
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from bench import documents, timing
from bench.queries import COUNTED, KINDS, WARMING, build_queries

ROWS = 60_000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    path = tmp_path_factory.mktemp("corpus") / "documents.csv"
    documents.write(path, ROWS)
    return pl.read_csv(path, has_header=False, new_columns=["id", "category", "price", "body"])


@pytest.fixture(scope="module")
def shares(corpus: pl.DataFrame) -> Counter[str]:
    return Counter(itertools.chain.from_iterable(set(body.split()) for body in corpus["body"]))


def test_documents_are_the_same_every_time_and_a_shorter_file_is_the_beginning_of_a_longer_one(
    tmp_path: Path, corpus: pl.DataFrame
) -> None:
    documents.write(tmp_path / "few.csv", 1_000)
    few = pl.read_csv(tmp_path / "few.csv", has_header=False, new_columns=corpus.columns)
    assert few.equals(corpus.head(1_000))
    assert corpus["id"].to_list() == list(range(1, ROWS + 1))


def test_documents_are_of_about_forty_words(corpus: pl.DataFrame) -> None:
    lengths = corpus["body"].str.split(" ").list.len()
    assert (lengths.min(), lengths.max()) == (30, 50)
    assert lengths.mean() == pytest.approx(40, abs=0.2)


@pytest.mark.parametrize(
    ("words", "share"),
    [
        (documents.COMMON, 0.78),
        (documents.OFTEN, 0.29),
        (documents.SOMETIMES, 0.05),
        (documents.SELDOM, 0.005),
        (documents.vocabulary()[:1], 0.1),
        (documents.vocabulary()[-1000:], 0.00005),
    ],
)
def test_words_stand_in_their_share_of_documents(shares: Counter[str], words: tuple[str, ...], share: float) -> None:
    assert sum(shares[word] for word in words) / len(words) / ROWS == pytest.approx(share, rel=0.15)


def test_phrases_stand_in_a_hundredth_of_the_documents(corpus: pl.DataFrame) -> None:
    for first, second in documents.PHRASES[:5]:
        assert corpus["body"].str.contains(rf"\b{first} {second}\b").mean() == pytest.approx(0.011, abs=0.003)


def test_generated_words_are_distinct_from_each_other_and_from_shares() -> None:
    words = documents.vocabulary()
    assert len(words) == len(set(words)) == 100_000
    assert not set(words) & set(documents.SHARES)


def test_no_query_is_repeated_and_kinds_are_balanced() -> None:
    queries = build_queries()
    assert len({(query.kind, query.words, query.below) for query in queries}) == len(queries)
    assert Counter(query.kind for query in queries) == dict.fromkeys(KINDS, WARMING + COUNTED)
    assert [query.kind for query in queries[: len(KINDS)]] == list(KINDS)
    assert Counter(query.kind for query in queries if not query.warming) == dict.fromkeys(KINDS, COUNTED)


def test_typos_are_not_words_and_prefixes_match_words() -> None:
    words = documents.vocabulary()
    for query in build_queries():
        if query.kind == "typo":
            assert query.words[0] not in words
        if query.kind == "prefix":
            assert any(word.startswith(query.words) for word in words)


def test_kinds_have_equal_weight() -> None:
    slow, fast = [1000.0], [float(n) for n in range(1, 20)]
    assert timing.p95(fast) == 19
    assert timing.percentile(timing.weighted([slow, fast]), 0.5) == 19
    assert timing.spread([slow, fast]) == "p50 19.0, p95 1,000, max 1,000 ms"
    assert timing.spread([[0.25]]) == "p50 0.25, p95 0.25, max 0.25 ms"
