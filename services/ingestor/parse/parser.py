"""Parses a chunk into good rows, as typed columns, and failed rows. Every row becomes one or the other."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from services.ingestor.parse import column_types, constraints, csv_reader, json_reader
from services.ingestor.parse.csv_scanner import Positions, Records
from services.ingestor.parse.raw_columns import RawColumns
from services.ingestor.parse.row_errors import FailedRow, RowCountMismatch, RowError, raw_text, shorten
from shared.catalog.dataset import Dataset
from shared.contracts.parts import Dialect


class ParsedChunk(NamedTuple):
    """A chunk whose values are parsed and checked against the declaration, but not against other tables."""

    data: bytes
    line: int
    dataset: Dataset
    raw: RawColumns
    typed: pl.DataFrame
    """The values of `raw.columns`; null where one is missing or not of its type."""

    def values(self, field: str) -> pl.Series:
        """Returns the distinct values of a field, in good rows and bad ones."""
        return self.typed[field].drop_nulls().unique()


class Batch(NamedTuple):
    """Good rows (a column for each field of the file, in its order) with their physical lines, and failed rows."""

    rows: pl.DataFrame
    lines: npt.NDArray[np.int64]
    failed: list[FailedRow]
    rows_read: int
    data: bytes
    records: Records
    numbers: Positions
    """The places of the good rows among the records."""


def parse(data: bytes, dataset: Dataset, dialect: Dialect, *, line: int) -> ParsedChunk:
    """Parses and checks the rows of a chunk, whose first byte is on physical line `line` of the file.

    Raises RowCountMismatch, and BadConstraint for a field whose declaration can't be applied.
    """
    fields = [dataset.field(name) for name in dialect.fields]
    raw = csv_reader.read(data, dialect) if dialect.format == "csv" else json_reader.read(data, dataset, dialect)
    typed = column_types.read(raw.columns, fields)
    for row, error in _find_errors(raw.columns, typed, constraints.build_checks(dataset, fields)):
        errors = raw.errors.setdefault(int(raw.numbers[row]), [])
        # A value that could not be read as text has an error already, and is not missing.
        if error.code != "required" or error.column not in [other.column for other in errors]:
            errors.append(error)
    return ParsedChunk(data, line, dataset, raw, typed)


def build_batch(parsed: ParsedChunk, *, now: datetime, unknown: Mapping[str, pl.Series] | None = None) -> Batch:
    """Separates good rows from failed ones. `unknown` has the values of fields that refer to no row.

    Missing values get their defaults, in which "now" is `now` (with a time zone). Raises RowCountMismatch and
    BadConstraint.
    """
    records, numbers, columns, found = parsed.raw
    errors = {number: list(row_errors) for number, row_errors in found.items()}
    for name, missing in (unknown or {}).items():
        lost = parsed.typed[name].is_in(missing.implode()).fill_null(value=False).arg_true()
        references = parsed.dataset.field(name).references
        for row, text in zip(lost, columns[name].gather(lost), strict=True):
            error = RowError("reference", name, shorten(text), f"There is no {references} {shorten(text)}.")
            errors.setdefault(int(numbers[row]), []).append(error)
    fields = [parsed.dataset.field(name) for name in columns.columns]
    good = np.ones(len(records.starts), np.bool_)
    good[list(errors)] = False
    good = good[numbers]
    rows = constraints.fill_defaults(parsed.typed.filter(pl.Series(good)), fields, now)
    lines = records.lines + parsed.line
    failed = [
        FailedRow(int(lines[number]), _raw_text(parsed.data, records, number), tuple(row_errors))
        for number, row_errors in sorted(errors.items())
    ]
    if rows.height + len(failed) != len(records.starts):
        message = f"{len(records.starts)} rows read, {rows.height} good, {len(failed)} failed"
        raise RowCountMismatch(message)
    numbers = numbers[good]
    return Batch(rows, lines[numbers], failed, len(records.starts), parsed.data, records, numbers)


def fail_rows(batch: Batch, errors: Mapping[int, RowError]) -> Batch:
    """Returns the batch with these good rows, by their place in `rows`, as failed ones."""
    refused = np.zeros(batch.rows.height, np.bool_)
    refused[list(errors)] = True
    bad = np.setdiff1d(np.arange(batch.rows_read), batch.numbers, assume_unique=True)
    failed = dict(zip(bad.tolist(), batch.failed, strict=True))
    for row, error in errors.items():
        number = int(batch.numbers[row])
        failed[number] = FailedRow(int(batch.lines[row]), _raw_text(batch.data, batch.records, number), (error,))
    return batch._replace(
        rows=batch.rows.filter(pl.Series(~refused)),
        lines=batch.lines[~refused],
        failed=[row for _, row in sorted(failed.items())],
        numbers=batch.numbers[~refused],
    )


def count_errors(failed: Iterable[FailedRow]) -> dict[tuple[str, str], int]:
    """Counts the rows for each error code and column."""
    return dict(Counter(kind for row in failed for kind in {(error.code, error.column) for error in row.errors}))


def _find_errors(
    columns: pl.DataFrame, typed: pl.DataFrame, checks: list[constraints.Check]
) -> Iterator[tuple[int, RowError]]:
    """Yields the row and the error of every wrong value, column after column."""
    wide = typed.hstack(columns.rename(lambda name: f":{name}"))
    bad = wide.lazy().select([check.bad.alias(str(number)) for number, check in enumerate(checks)]).collect()
    for check, mask in zip(checks, bad, strict=True):
        if not mask.any():
            continue
        rows = mask.arg_true()
        for row, value in zip(rows.to_list(), columns[check.field].gather(rows).to_list(), strict=True):
            yield row, RowError(check.code, check.field, value if value is None else shorten(value), check.detail)


def _raw_text(data: bytes, records: Records, number: int) -> str:
    return raw_text(data[records.starts[number] : records.stops[number]])
