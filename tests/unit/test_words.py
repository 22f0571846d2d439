"""The tokenizers of the indexer and of searches agree on every text."""

import sys
import unicodedata

import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st

from services.indexer.documents import tokens
from shared.search import tokenizer

SURROGATES = range(0xD800, 0xE000)
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def split(text: str) -> list[str]:
    found: list[str] = tokens.split(pl.Series([text], dtype=pl.String)).to_list()[0]
    return found


def test_both_know_the_same_letters() -> None:
    every = pl.Series(chr(code) for code in range(sys.maxunicode + 1) if code not in SURROGATES)
    letters = every.filter(every.str.contains(f"^{tokenizer.RUST_WORD}$"))
    assert set(letters) == set(tokenizer.WORD.findall("\n".join(every)))
    lowered = letters.str.to_lowercase().str.normalize("NFC")
    differ = [
        letter
        for letter, low in zip(letters, lowered, strict=True)
        if low != unicodedata.normalize("NFC", letter.lower())
    ]
    assert differ == []


@given(text=ANY)
@example("\u039f\u0394\u039f\u03a3 \u03a3 \u0391\u03a3\u0391\u03a3.\u03a3")
@example("Caf\u00e9 cafe\u0301 \u0130stanbul I\u0307 \u01f0 J\u030c \u00bd\u00b2 foo_bar")
@example("\u0928\u092e\u0938\u094d\u0924\u0947")
def test_both_find_the_same_words(text: str) -> None:
    assert tokenizer.tokenize(text) == split(text)


@given(text=ANY)
def test_places_are_where_words_stand(text: str) -> None:
    composed = unicodedata.normalize("NFC", text)
    found = tokenizer.find_words(composed)
    again = [word for begin, end, _ in found for word in tokenizer.tokenize(composed[begin:end])[:1]]
    assert [word for _, _, word in found] == again
    assert all(tokenizer.WORD.fullmatch(composed, begin, end) for begin, end, _ in found)


def test_a_word_is_cut_where_an_index_has_no_room() -> None:
    assert [len(word) for word in tokenizer.tokenize("x" * 1000 + " y")] == [tokenizer.MAX_WORD_LENGTH, 1]
    assert len(tokenizer.tokenize("x " * 20_000)) == tokenizer.MAX_WORDS
