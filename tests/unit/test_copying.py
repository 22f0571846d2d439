"""What is handed to COPY, read back by an independent reader."""

import csv
import io
from datetime import UTC, date, datetime, time
from decimal import Decimal

import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.ingestor.copying import columns, to_copy
from shared.contracts.parts import Dialect

TEXTS = st.text(st.sampled_from('ab",;\n\r\\. \té\u2028\ufeff#N'), min_size=1, max_size=8)


def read_back(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))


@settings(deadline=None)
@given(st.lists(st.none() | TEXTS, max_size=20))
@example(["\\.", "\\N", " a ", "\r", "\n", '"', "a\n\\.\nb", ",", None])
def test_any_text_survives(texts: list[str | None]) -> None:
    rows = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    assert read_back(to_copy(rows, chunk=42)) == [[text or "", "42"] for text in texts]


def test_null_is_nothing_and_stands_for_nothing_else() -> None:
    rows = pl.DataFrame({"text": [None, "\\N", "null"], "number": [None, 1.0, None]})
    assert to_copy(rows, chunk=7) == b",,7\n\\N,1.0,7\nnull,,7\n"


def test_what_postgres_would_misread_is_quoted() -> None:
    rows = pl.DataFrame({"text": ["a\rb", "a\nb", 'a"b', "\\.\n"]})
    assert to_copy(rows, chunk=7) == b'"a\rb",7\n"a\nb",7\n"a""b",7\n"\\.\n",7\n'


def test_every_type_in_words_that_postgres_reads_exactly() -> None:
    rows = pl.DataFrame(
        {
            "integer": [-(2**63), 2**63 - 1],
            "number": [0.1, -1e300],
            "decimal": [Decimal("-0.05"), Decimal("1234567890123.40")],
            "boolean": [True, False],
            "date": [date(1, 1, 1), date(9999, 12, 31)],
            "moment": [datetime(1, 1, 1, tzinfo=UTC), datetime(2021, 11, 7, 2, 48, 42, 120, tzinfo=UTC)],
            "time": [time(0, 0), time(23, 59, 59, 999999)],
            "object": ['{"a": [1, "x"]}', "[]"],
        },
        schema_overrides={"decimal": pl.Decimal(15, 2), "moment": pl.Datetime("us", "UTC")},
    )
    first, second = read_back(to_copy(rows, chunk=2**40))
    assert first[:5] == ["-9223372036854775808", "0.1", "-0.05", "true", "0001-01-01"]
    assert first[5:] == ["0001-01-01 00:00:00.000000+00", "00:00:00.000000", '{"a": [1, "x"]}', "1099511627776"]
    assert second[:5] == ["9223372036854775807", "-1e+300", "1234567890123.40", "false", "9999-12-31"]
    assert second[5:] == ["2021-11-07 02:48:42.000120+00", "23:59:59.999999", "[]", "1099511627776"]


def test_columns_stand_in_the_order_of_the_file() -> None:
    assert columns(Dialect(columns=("b", "a"), header=False)) == ("b", "a", "_chunk")
    rows = pl.DataFrame({"b": [1], "a": [2]})
    assert to_copy(rows, chunk=3) == b"1,2,3\n"


def test_no_rows_are_no_bytes() -> None:
    assert to_copy(pl.DataFrame(schema={"text": pl.String}), chunk=3) == b""
