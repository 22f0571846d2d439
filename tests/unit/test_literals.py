"""Values in declarations and values in files are read alike."""

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.ingestor.parse.column_types import convert
from shared.catalog import field_types, literals
from shared.catalog.dataset import Field
from shared.catalog.field_mistakes import find_mistakes

KINDS = (
    *(kind for kind in field_types.FIELD_TYPES if kind not in ("object", "decimal")),
    "decimal(5,2)",
    "decimal(38,0)",
    "decimal(2,2)",
)
TEXTS = st.one_of(
    st.text("0123456789+-.eE:TZ ", max_size=30),
    st.integers().map(str),
    st.integers(-(1 << 64), 1 << 64).map(str),
    st.floats().map(repr),
    st.decimals(allow_nan=False).map(str),
    st.dates().map(str),
    st.datetimes().map(str),
    st.datetimes(timezones=st.timezones()).map(str),
    st.times().map(str),
    st.uuids().map(str),
    st.sampled_from([*literals.BOOLEANS, "TRUE", "No", "yES", "null", "", "inf", "NaN"]),
    st.text(max_size=5),
    st.from_regex(literals.MOMENT, fullmatch=True),
    st.from_regex(literals.TIME, fullmatch=True),
    st.from_regex(literals.DATE, fullmatch=True),
    st.from_regex(literals.NUMBER, fullmatch=True),
    st.from_regex(literals.DECIMAL, fullmatch=True),
)
PIECES = st.sampled_from(
    [*"aZ0.^$|()[]{}*+?-,&~@_%é ", "[^", "[a-z]", "[]]", "[^@\\s]", "(?:", "(?P<n>"]
    + [
        "(?=",
        "(?!",
        "(?<=",
        "(?i:",
        "(?i)",
        "(?>",
        "(?#",
        "(?P=n)",
        "(?(1)",
        "{2}",
        "{1,}",
        "{,3}",
        "{2,3}",
        "--",
        "&&",
    ]
    + [f"\\{char}" for char in "dDwWsSbBAZzntrfvaexu01pPkGhR.-[]()\"'/\\<>_é"]
    + ["\\x41", "\\u0041", "*?", "+?", "??", "*+", "++", "\n"]
)


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS)
@example("0" * 30 + "1")
@example("0001-01-01T00:00:00+01:00")
@example("9999-12-31T23:59:59-01:00")
@example("2021-02-29")
@example("1\n")
@example("+.")
def test_a_text_is_a_value_for_both_or_for_neither(kind: str, text: str) -> None:
    read = pl.DataFrame({"text": [text]}).select(convert(pl.col("text"), kind)).to_series()[0] is not None
    if "\0" not in text:  # which no cell has
        assert field_types.find(kind).holds(text) == read


@given(text=st.one_of(TEXTS, st.recursive(st.none() | st.floats(), lambda inner: st.lists(inner, max_size=3)).map(str)))
@example('{"a": "\\u0000"}')
@example("[1e-99999]")
@example("[" * 5000)
def test_what_is_taken_for_an_object_is_read_as_one(text: str) -> None:
    if literals.is_object(text):
        assert pl.DataFrame({"text": [text]}).select(convert(pl.col("text"), "object")).to_series()[0] is not None


@given(pattern=st.lists(PIECES, max_size=6).map("".join))
def test_a_pattern_that_may_be_declared_can_be_applied(pattern: str) -> None:
    if not list(find_mistakes(Field(name="a", type="string", pattern=pattern))):
        pl.Series([""]).str.contains(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[^@\s]+@[^@\s]+$",
        r"^\d{4}-\d{2}$",
        "^(a|b)?c*$",
        r"^[A-Z]{2}[0-9]{2,30}$",
        r"(?i:yes|no)",
        r"^\+?[0-9 ]+$",
        "é",
    ],
)
def test_usual_patterns_may_be_declared(pattern: str) -> None:
    assert not list(find_mistakes(Field(name="a", type="string", pattern=pattern)))


@pytest.mark.parametrize(
    "pattern", ["(", "(?=a)", r"(a)\1", "a++", "(?>a)", r"a\Z", "[[]", "[a&&b]", r"\<", r"[\>]", "a" * 1001]
)
def test_patterns_that_only_python_knows_are_refused(pattern: str) -> None:
    assert list(find_mistakes(Field(name="a", type="string", pattern=pattern)))
