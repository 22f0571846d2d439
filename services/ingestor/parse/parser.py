"""The rows of a chunk as typed columns, and whatever is wrong with the others. No row is lost between the two."""

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
from services.ingestor.parse.row_errors import FailedRow, Miscounted, RowError, raw_text, shown
from shared.catalog.dataset import Dataset
from shared.contracts.parts import Dialect

__all__ = ["Batch", "FailedRow", "Miscounted", "Reading", "RowError", "counts", "judge", "read", "refuse"]


class Reading(NamedTuple):
    """A chunk whose values have been read and held against the declaration, but not against other rows."""

    data: bytes
    line: int
    dataset: Dataset
    texts: Texts
    typed: pl.DataFrame
    """The values beside `texts.columns`; null where one is missing or not of its type."""

    def values(self, field: str) -> pl.Series:
        """The different values of a field, of good rows and bad ones."""
        return self.typed[field].drop_nulls().unique()


class Batch(NamedTuple):
    """Good rows (a column per field of the file, in the file's order) with their physical lines, and failed ones."""

    rows: pl.DataFrame
    lines: npt.NDArray[np.int64]
    failed: list[FailedRow]
    rows_read: int
    data: bytes
    records: Records
    numbers: Positions
    """The places of the good rows among the records."""


def read(data: bytes, dataset: Dataset, dialect: Dialect, *, line: int) -> Reading:
    """Reads and checks the rows of a cut, whose first byte stands on physical line `line` of the file.

    Raises Miscounted, and BadConstraint for a field whose declaration can't be applied.
    """
    fields = [dataset.field(name) for name in dialect.fields]
    texts = csv_reader.read(data, dialect) if dialect.format == "csv" else json_reader.read(data, dataset, dialect)
    typed = column_types.read(texts.columns, fields)
    for row, error in _valued(texts.columns, typed, constraints.checks(dataset, fields)):
        errors = texts.wrong.setdefault(int(texts.numbers[row]), [])
        # What was no text at all is not missing.
        if error.code != "required" or error.column not in [other.column for other in errors]:
            errors.append(error)
    return Reading(data, line, dataset, texts, typed)


def judge(reading: Reading, *, now: datetime, unknown: Mapping[str, pl.Series] | None = None) -> Batch:
    """Parts good rows from bad ones. `unknown` are values of fields that refer to nothing.

    Missing values get their defaults, in which "now" is `now` (with a time zone). Raises Miscounted and BadConstraint.
    """
    records, numbers, texts, wrong = reading.texts
    wrong = {number: list(errors) for number, errors in wrong.items()}
    for name, strangers in (unknown or {}).items():
        lost = reading.typed[name].is_in(strangers.implode()).fill_null(value=False).arg_true()
        referred = reading.dataset.field(name).references
        for row, text in zip(lost, texts[name].gather(lost), strict=True):
            error = RowError("reference", name, shown(text), f"There is no {referred} {shown(text)}.")
            wrong.setdefault(int(numbers[row]), []).append(error)
    fields = [reading.dataset.field(name) for name in texts.columns]
    good = np.ones(len(records.starts), np.bool_)
    good[list(wrong)] = False
    good = good[numbers]
    rows = constraints.fill(reading.typed.filter(pl.Series(good)), fields, now)
    lines = records.lines + reading.line
    failed = [
        FailedRow(int(lines[number]), _raw(reading.data, records, number), tuple(errors))
        for number, errors in sorted(wrong.items())
    ]
    if rows.height + len(failed) != len(records.starts):
        message = f"{len(records.starts)} rows read, {rows.height} good, {len(failed)} failed"
        raise Miscounted(message)
    numbers = numbers[good]
    return Batch(rows, lines[numbers], failed, len(records.starts), reading.data, records, numbers)


def refuse(batch: Batch, errors: Mapping[int, RowError]) -> Batch:
    """The batch without these good rows, by their place in `rows`: they are failed ones now."""
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


def counts(batch: Batch) -> dict[tuple[str, str], int]:
    """How many rows have which error in which column."""
    return dict(Counter(kind for row in batch.failed for kind in {(error.code, error.column) for error in row.errors}))


def _valued(
    texts: pl.DataFrame, typed: pl.DataFrame, checks: list[constraints.Check]
) -> Iterator[tuple[int, RowError]]:
    """Every wrong value with its row, column after column."""
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
