"""Parses a chunk into good rows, as typed columns, and failed rows. Every row becomes one or the other."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from services.ingestor.parse import column_types, constraints, csv_reader, json_reader
from services.ingestor.parse.csv_scanner import Positions, Records
from services.ingestor.parse.raw_columns import Texts
from services.ingestor.parse.row_errors import FailedRow, RowCountMismatch, RowError, raw_text, shown
from shared.catalog.dataset import Dataset
from shared.contracts.parts import Dialect


class ParsedChunk(NamedTuple):
    """A chunk whose values are parsed and checked against the declaration, but not against other tables."""

    data: bytes
    line: int
    dataset: Dataset
    texts: Texts
    typed: pl.DataFrame
    """The values of `texts.columns`; null where one is missing or not of its type."""

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
    texts = csv_reader.read(data, dialect) if dialect.format == "csv" else json_reader.read(data, dataset, dialect)
    typed = column_types.read(texts.columns, fields)
    for row, error in _find_errors(texts.columns, typed, constraints.build_checks(dataset, fields)):
        errors = texts.wrong.setdefault(int(texts.numbers[row]), [])
        # A value that could not be read as text has an error already, and is not missing.
        if error.code != "required" or error.column not in [other.column for other in errors]:
            errors.append(error)
    return ParsedChunk(data, line, dataset, texts, typed)


def build_batch(parsed: ParsedChunk, *, now: datetime, unknown: Mapping[str, pl.Series] | None = None) -> Batch:
    """Separates good rows from failed ones. `unknown` has the values of fields that refer to no row.

    Missing values get their defaults, in which "now" is `now` (with a time zone). Raises RowCountMismatch and
    BadConstraint.
    """
    records, numbers, texts, wrong = parsed.texts
    wrong = {number: list(errors) for number, errors in wrong.items()}
    for name, missing in (unknown or {}).items():
        lost = parsed.typed[name].is_in(missing.implode()).fill_null(value=False).arg_true()
        references = parsed.dataset.field(name).references
        for row, text in zip(lost, texts[name].gather(lost), strict=True):
            error = RowError("reference", name, shown(text), f"There is no {references} {shown(text)}.")
            wrong.setdefault(int(numbers[row]), []).append(error)
    fields = [parsed.dataset.field(name) for name in texts.columns]
    good = np.ones(len(records.starts), np.bool_)
    good[list(wrong)] = False
    good = good[numbers]
    rows = constraints.fill_defaults(parsed.typed.filter(pl.Series(good)), fields, now)
    lines = records.lines + parsed.line
    failed = [
        FailedRow(int(lines[number]), _raw(parsed.data, records, number), tuple(errors))
        for number, errors in sorted(wrong.items())
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
        failed[number] = FailedRow(int(batch.lines[row]), _raw(batch.data, batch.records, number), (error,))
    return batch._replace(
        rows=batch.rows.filter(pl.Series(~refused)),
        lines=batch.lines[~refused],
        failed=[row for _, row in sorted(failed.items())],
        numbers=batch.numbers[~refused],
    )


def count_errors(batch: Batch) -> dict[tuple[str, str], int]:
    """Counts the rows for each error code and column."""
    return dict(Counter(kind for row in batch.failed for kind in {(error.code, error.column) for error in row.errors}))


def _find_errors(
    texts: pl.DataFrame, typed: pl.DataFrame, checks: list[constraints.Check]
) -> Iterator[tuple[int, RowError]]:
    """Yields the row and the error of every wrong value, column after column."""
    wide = typed.hstack(texts.rename(lambda name: f":{name}"))
    bad = wide.lazy().select([check.bad.alias(str(number)) for number, check in enumerate(checks)]).collect()
    for check, mask in zip(checks, bad, strict=True):
        if not mask.any():
            continue
        rows = mask.arg_true()
        for row, value in zip(rows.to_list(), texts[check.field].gather(rows).to_list(), strict=True):
            yield row, RowError(check.code, check.field, value if value is None else shown(value), check.detail)


def _raw(data: bytes, found: Records, number: int) -> str:
    return raw_text(data[found.starts[number] : found.stops[number]])
