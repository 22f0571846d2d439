"""What the words of rows make of them: documents as Postgres writes them, and counts of words. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from shared.search import words

MOST_BYTES = 800_000
"""Of a document: Postgres' own limit is a megabyte."""
LAST_LABEL = "D"
"""Is never written: a position without a letter has it."""


class Counts(NamedTuple):
    """How often each word stands in how many more documents than before; fewer, if negative."""

    words: list[str]
    documents: list[int]
    occurrences: list[int]


Texts = Mapping[str, Sequence[str | None]]
"""Of some rows, field by field."""


def read(standing: Texts, replaced: Texts, removed: Texts, labels: Sequence[str]) -> tuple[list[str], Counts]:
    """Documents of the rows that stand; what they and the replaced ones add to the counts, less the removed ones."""
    rows = len(next(iter(standing.values())))
    found = spread(standing)
    # Rows are told apart by their numbers: those of replaced ones begin where the others end.
    others = spread(replaced).with_columns(pl.col("doc") + rows)
    return documents(found, labels, rows), counts(pl.concat([found, others]), spread(removed))


def split(texts: pl.Series) -> pl.Series:
    """The words of each text, as `words.of` finds them; none of a null."""
    found = texts.str.to_lowercase().str.normalize("NFC").str.extract_all(words.RUST).list.head(words.MOST_WORDS)
    return found.list.eval(pl.element().str.slice(0, words.LONGEST_WORD))


def spread(texts: Texts) -> pl.DataFrame:
    """`doc, field, word` of rows whose texts are given field by field: a line for each word, in order."""
    fields = []
    for number, values in enumerate(texts.values()):
        found = pl.DataFrame({"word": split(pl.Series(values, dtype=pl.String))})
        fields.append(found.with_row_index("doc").with_columns(pl.lit(number, pl.UInt32).alias("field")))
    spread = pl.concat(fields).explode("word").drop_nulls("word")
    return spread if len(fields) == 1 else spread.sort("doc", "field", maintain_order=True)


def documents(spread: pl.DataFrame, labels: Sequence[str], rows: int) -> list[str]:
    """A `tsvector` in Postgres' own writing for each of so many rows. Words of two fields never follow each other."""
    row = pl.col("row").cast(pl.Int64)
    place = row - row.first().over("doc") + 1 + pl.col("field")
    placed = spread.with_row_index("row").with_columns(place.alias("place"))
    marks = [label if label != LAST_LABEL else "" for label in labels]
    mark = pl.lit(marks[0]) if len(marks) == 1 else pl.col("field").replace_strict(dict(enumerate(marks)))
    clipped = pl.col("place").clip(upper_bound=words.MOST_WORDS).cast(pl.String)
    written = placed.select("doc", "place", pl.concat_str(pl.col("word"), pl.lit(":"), clipped, mark).alias("entry"))
    if _is_long(spread):
        size = pl.col("entry").str.len_bytes() + 8
        written = written.filter((pl.col("place") <= words.MOST_WORDS) & (size.cum_sum().over("doc") <= MOST_BYTES))
    joined = written.group_by("doc", maintain_order=True).agg(pl.col("entry").str.join(" "))
    found = [""] * rows
    for doc, text in zip(joined["doc"].to_list(), joined["entry"].to_list(), strict=True):
        found[doc] = text
    return found


def counts(added: pl.DataFrame, removed: pl.DataFrame) -> Counts:
    """What the words of some rows add and those of others take away; words that come out even are left out."""
    frames = [_counted(added, 1)] + ([_counted(removed, -1)] if removed.height else [])
    summed = pl.concat(frames)
    if removed.height:
        summed = summed.group_by("word").sum()
        summed = summed.filter((pl.col("documents") != 0) | (pl.col("occurrences") != 0))
    return Counts(summed["word"].to_list(), summed["documents"].to_list(), summed["occurrences"].to_list())


def _counted(spread: pl.DataFrame, sign: int) -> pl.DataFrame:
    documents = pl.col("doc").n_unique().cast(pl.Int64) * sign
    occurrences = pl.len().cast(pl.Int64) * sign
    return spread.group_by("word").agg(documents.alias("documents"), occurrences.alias("occurrences"))


def _is_long(spread: pl.DataFrame) -> bool:
    """Whether a document may be too long for Postgres."""
    if not spread.height:
        return False
    sizes = spread.group_by("doc").agg((pl.col("word").str.len_bytes() + 8).sum().alias("bytes"))
    return bool((sizes["bytes"] > MOST_BYTES // 2).any())
