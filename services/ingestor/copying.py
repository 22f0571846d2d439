"""Typed rows as the bytes that `COPY ... FROM STDIN (FORMAT csv)` takes."""

import io

import polars as pl

from shared.contracts.parts import Dialect

CHUNK = "_chunk"
"""The column that says which chunk a row came with."""


def columns(dialect: Dialect) -> tuple[str, ...]:
    """The columns of what `to_copy` writes, in its order."""
    return (*dialect.columns, CHUNK)


def to_copy(rows: pl.DataFrame, *, chunk: int) -> bytes:
    """A line a row, null as nothing at all."""
    text = io.BytesIO()
    rows.with_columns(pl.lit(chunk, pl.Int64).alias(CHUNK)).write_csv(
        text,
        include_header=False,
        quote_style="necessary",
        datetime_format="%Y-%m-%d %H:%M:%S%.6f+00",
        time_format="%H:%M:%S%.6f",
    )
    return text.getvalue()
