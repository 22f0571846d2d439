"""Typed rows as the bytes of `COPY ... FROM STDIN (FORMAT binary)`: Postgres reads them in half the time of CSV."""

import polars as pl
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder

from shared.catalog import kinds
from shared.catalog.dataset import Field

CHUNK = "_chunk"
"""The column that says which chunk a row came with."""
ROW = "_n"
"""The column of a stage that counts its rows, in the order of the input."""
JSONB_VERSION = b"\x01"
BATCH_ROWS = 1 << 16
MICROSECONDS = pa.time64("us")


def to_copy(rows: pl.DataFrame, fields: tuple[Field, ...]) -> bytes:
    """Rows of the fields' types, with or without columns of ours, which are integers."""
    types = {field.name: kinds.base(field.type) for field in fields}
    table = rows.select(_wired(name, types.get(name, "integer")) for name in rows.columns).to_arrow()
    # polars counts times of day in nanoseconds, Postgres in microseconds
    table = table.cast(
        pa.schema((f.name, MICROSECONDS if pa.types.is_time64(f.type) else f.type) for f in table.schema)
    )
    encoder = ArrowToPostgresBinaryEncoder(table.schema)
    pieces = [encoder.write_header()]
    pieces += [encoder.write_batch(batch) for batch in table.to_batches(BATCH_ROWS)]
    pieces.append(encoder.finish())
    return b"".join(pieces)


def _wired(name: str, kind: str) -> pl.Expr:
    """A column whose Arrow type has the bytes that Postgres expects."""
    column = pl.col(name)
    match kind:
        case "uuid":
            return column.str.replace_all("-", "", literal=True).str.decode("hex")
        case "object":
            return (pl.lit(JSONB_VERSION) + column.cast(pl.Binary)).alias(name)
    return column
