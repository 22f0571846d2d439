"""Filters, orders and cursors of row queries; mistakes are reported with their place and a hint."""

import datetime as dt
import re
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.gateway.http.problems import Problem
from services.gateway.http.row_query import parse_row_query
from shared.catalog.dataset import Dataset, Field
from shared.search import cursors, filters, ordering, values
from shared.search.conditions import OPERATORS, STATES
from shared.search.filters import Filter, InvalidFilter
from shared.search.grammar import MAX_CONDITIONS, MAX_DEPTH
from shared.search.ordering import SortTerm
from tests.stack import ROOT

KINDS = ("integer", "number", "decimal(12,2)", "string", "boolean", "date", "datetime", "time", "uuid", "object")
ITEMS = Dataset(
    name="items",
    title="Items",
    primary_key=("id",),
    fields=(
        Field(name="id", type="integer", required=True),
        Field(name="name", type="string", required=True, max_length=200),
        Field(name="category", type="string"),
        Field(name="price", type="decimal(12,2)", required=True),
        Field(name="available", type="boolean"),
        Field(name="sold_at", type="datetime"),
        Field(name="extra", type="object"),
        Field(name="or", type="integer"),
        Field(name="limit", type="integer"),
    ),
)
KEYLESS = Dataset(name="log", title="Log", fields=(Field(name="line", type="string"),))


def condition(*parameters: tuple[str, str], dataset: Dataset = ITEMS) -> tuple[str, list[Any]]:
    found: list[Any] = []
    text = filters.to_sql(filters.parse(dataset, parameters), dataset, "r", found)
    return text, found


@pytest.mark.parametrize(
    ("name", "text", "sql", "found"),
    [
        ("price", "gte.10", '(r."price" >= $1::numeric)', [Decimal(10)]),
        ("price", "lt. 0.005 ", '(r."price" < $1::numeric)', [Decimal("0.005")]),
        ("name", "neq. a.b,c) ", '(r."name" <> $1::text)', [" a.b,c) "]),
        ("name", 'eq."a"', '(r."name" = $1::text)', ['"a"']),
        (
            "category",
            'in.(wood,"a,b","c\\"\\\\", x)',
            '(r."category" = ANY($1::text[]))',
            [["wood", "a,b", 'c"\\', " x"]],
        ),
        ("category", "in.()", '(r."category" = ANY($1::text[]))', [[]]),
        ("category", "is.null", '(r."category" IS NULL)', []),
        ("category", "not.is.null", 'NOT (r."category" IS NULL)', []),
        ("available", "is.true", '(r."available" IS TRUE)', []),
        ("available", "eq.no", '(r."available" = $1::boolean)', [False]),
        ("name", "not.ilike.*ch%ir_", 'NOT (r."name" ILIKE $1::text)', ["%ch%ir_"]),
        ("name", r"like.5\*\\*", r'(r."name" LIKE $1::text)', [r"5\*\\%"]),
        ("sold_at", "gt.2021-11-07", '(r."sold_at" > $1::timestamptz)', [dt.datetime(2021, 11, 7, tzinfo=dt.UTC)]),
        ("extra", 'eq.{"a": 1}', '(r."extra" = $1::text::jsonb)', ['{"a": 1}']),
        (
            "or",
            "(price.lt.5,category.eq.wood)",
            '((r."price" < $1::numeric) OR (r."category" = $2::text))',
            [5, "wood"],
        ),
        (
            "not.and",
            "( or.eq.1 , not.or(limit.gt.2),not.and(id.not.eq.3))",
            'NOT ((r."or" = $1::bigint) AND NOT ((r."limit" > $2::bigint)) AND NOT (NOT (r."id" = $3::bigint)))',
            [1, 2, 3],
        ),
    ],
)
def test_conditions_are_read(name: str, text: str, sql: str, found: list[Any]) -> None:
    assert condition((name, text)) == (sql, found)


def test_all_parameters_must_hold_and_none_is_true() -> None:
    assert condition() == ("true", [])
    both = condition(("price", "gt.1"), ("price", "lt.5"))
    assert both == ('(r."price" > $1::numeric) AND (r."price" < $2::numeric)', [Decimal(1), Decimal(5)])


def test_numbers_go_on_behind_the_values_that_are_there() -> None:
    found: list[Any] = ["query"]
    assert filters.to_sql(filters.parse(ITEMS, [("id", "eq.7")]), ITEMS, "d", found) == '(d."id" = $2::bigint)'
    assert found == ["query", 7]


def test_rows_without_a_key_of_their_own_have_ours() -> None:
    assert condition(("_id", "gt.5"), dataset=KEYLESS) == ('(r."_id" > $1::bigint)', [5])
    with pytest.raises(InvalidFilter):
        condition(("_id", "gt.5"))


@pytest.mark.parametrize(
    ("name", "text", "code", "says"),
    [
        ("prize", "gt.1", "unknown_field", "did you mean 'price'?"),
        ("_chunk", "gt.1", "unknown_field", "no field"),
        ('id" = 1; --', "eq.1", "unknown_field", "there are id, name"),
        ("or", "(prize.gt.1)", "unknown_field", "did you mean 'price'?"),
        ("price", "5", "no_operator", "write price=eq.5"),
        ("and", "(price.5)", "no_operator", "write price.eq.5"),
        ("price", "gte5", "no_operator", "write price=eq.gte5"),
        ("price", "ge.5", "unknown_operator", "did you mean 'gte'?"),
        ("price", "fts.x", "unknown_operator", "'fts' is no operator"),
        ("price", "not.not.eq.5", "unknown_operator", "'not' is no operator"),
        ("price", "like.5*", "unfit_operator", "use eq, neq, gt, gte, lt, lte, in, is"),
        ("extra", "gt.{}", "unfit_operator", "use eq, neq, in, is"),
        ("available", "lt.true", "unfit_operator", "available is boolean"),
        ("price", "eq.", "type", "price is decimal(12,2), which '' is not"),
        ("price", "eq.1e5", "type", "digits"),
        ("price", "gt." + "9" * 39, "type", "at most 38 digits"),
        ("id", "eq.9223372036854775808", "type", "to 9223372036854775807"),
        ("price", "gt." + "x" * 61, "type", "x…' is not"),
        ("id", "in.(1,x)", "type", "'x' is not"),
        ("name", "eq.a\0b", "type", "NUL"),
        ("name", "eq.\ud800", "type", "string"),
        ("sold_at", "gt.2021-11-07T00:00:00 02:00", "type", "%2B"),
        ("extra", "eq.1", "type", "object or array"),
        ("id", "in.1", "syntax", "in parentheses"),
        ("id", "in.(1", "syntax", "missing at the end"),
        ("id", "in.(1)2", "syntax", "'2'"),
        ("name", 'in.("a"b)', "syntax", "a quoted value"),
        ("name", 'in.("a)', "syntax", "a quoted value"),
        ("or", "price.gt.1", "syntax", "write or=("),
        ("or", "()", "syntax", "price.gt.5"),
        ("or", "(price.gt.1", "syntax", "missing at the end"),
        ("or", "(price.gt.1))", "syntax", "after the closing parenthesis"),
        ("or", "(price.gt.1,)", "syntax", "should follow at ')'"),
        ("price", "is.true", "bad_state", "is.null, is.not_null"),
        ("available", "is.maybe", "bad_state", "is.unknown"),
        ("name", "like.a\\", "bad_pattern", "single"),
        ("or", "and(" * 3000, "syntax", "write or="),
        ("or", "(" + "and(" * 3000, "too_deep", str(MAX_DEPTH)),
        ("or", "(" + ",".join(["id.eq.1"] * (MAX_CONDITIONS + 1)) + ")", "too_many", str(MAX_CONDITIONS)),
    ],
)
def test_what_is_wrong_is_reported(name: str, text: str, code: str, says: str) -> None:
    with pytest.raises(InvalidFilter) as caught:
        filters.parse(ITEMS, [(name, text)])
    assert (caught.value.column, caught.value.code) == (name, code)
    assert says in caught.value.detail


@given(
    st.sampled_from([field.name for field in ITEMS.fields] + ["and", "not.or"]),
    st.text() | st.text('().,"\\ notrieq*1-', max_size=30),
)
@example("name", "eq." + "\\" * 3)
def test_any_text_is_a_filter_or_refused(name: str, text: str) -> None:
    try:
        found = filters.parse(ITEMS, [(name, text)])
    except InvalidFilter:
        return
    given: list[Any] = []
    sql = filters.to_sql(found, ITEMS, "r", given)
    # Nothing that was given stands in the SQL: what is left without names and parameters are words of ours.
    assert msgspec.json.decode(msgspec.json.encode(found), type=tuple[Filter, ...]) == found
    assert set(sql.replace("r.", "")) <= set(
        'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"()=<>$:[]0123456789 '
    )


def test_a_filter_of_a_field_that_is_gone_or_of_another_type_is_refused() -> None:
    found = filters.parse(ITEMS, [("price", "eq.5.5")])
    with pytest.raises(InvalidFilter):
        filters.to_sql(found, KEYLESS, "r", [])
    whole = msgspec.structs.replace(ITEMS, fields=(Field(name="price", type="integer"),), primary_key=())
    with pytest.raises(InvalidFilter):
        filters.to_sql(found, whole, "r", [])


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_value_is_read_as_it_was_written(kind: str, data: st.DataObject) -> None:
    value = data.draw(
        {
            "integer": st.integers(-(1 << 63), (1 << 63) - 1),
            "number": st.floats(allow_nan=False, allow_infinity=False),
            "decimal(12,2)": st.decimals(-(10**10), 10**10, places=2) | st.just(Decimal("0E-30")),
            "string": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
            "boolean": st.booleans(),
            "date": st.dates(),
            "datetime": st.datetimes(timezones=st.just(dt.UTC)),
            "time": st.times(),
            "uuid": st.uuids(),
            "object": st.sampled_from(["{}", '[1, "a"]']),
        }[kind]
    )
    text = values.to_text(value)
    assert text is not None
    assert values.parse(kind, text) == value


def term(field: str, descending: int, nulls_first: int) -> SortTerm:
    return SortTerm(field, bool(descending), bool(nulls_first))


@pytest.mark.parametrize(
    ("text", "terms", "sql"),
    [
        ("", [SortTerm("id")], 'r."id"'),
        ("price.desc", [term("price", 1, 1), term("id", 1, 1)], 'r."price" DESC, r."id" DESC'),
        (
            "limit.nullsfirst, sold_at.desc.nullslast,id",
            [term("limit", 0, 1), term("sold_at", 1, 0), SortTerm("id")],
            'r."limit" NULLS FIRST, r."sold_at" DESC NULLS LAST, r."id"',
        ),
        # A required field gets no NULL check: an index would not be found by it.
        ("price.asc.nullsfirst", [SortTerm("price"), SortTerm("id")], 'r."price", r."id"'),
        ("category", [SortTerm("category"), SortTerm("id")], 'left(r."category", 600), r."id"'),
    ],
)
def test_orders_are_read(text: str, terms: list[SortTerm], sql: str) -> None:
    found = ordering.parse(ITEMS, text)
    assert list(found) == terms
    assert ordering.to_sql(found, ITEMS, "r") == sql


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("prize", "unknown_field", "did you mean 'price'?"),
        ("price.down", "bad_direction", "'down' can't follow price"),
        ("price.nullsfirst.desc", "bad_direction", "'desc' can't follow price"),
        ("price,", "unknown_field", "''"),
        ("price,id,price.desc", "twice", "'price'"),
        ("extra", "unfit_order", "no order"),
        (",".join(["id"] * 11), "twice", "'id'"),
    ],
)
def test_what_is_wrong_with_an_order_is_reported(text: str, code: str, says: str) -> None:
    with pytest.raises(ordering.InvalidOrder) as caught:
        ordering.parse(ITEMS, text, "sort")
    assert (caught.value.column, caught.value.code) == ("sort", code)
    assert says in caught.value.detail


def test_an_order_has_ten_fields_at_most() -> None:
    wide = Dataset(name="wide", title="Wide", fields=tuple(Field(name=f"f{n}", type="integer") for n in range(11)))
    assert len(ordering.parse(wide, ",".join(f"f{n}" for n in range(10)))) == 11
    with pytest.raises(ordering.InvalidOrder) as caught:
        ordering.parse(wide, ",".join(f"f{n}" for n in range(11)))
    assert caught.value.code == "too_many"


def test_a_page_of_the_key_is_looked_up_in_its_index() -> None:
    found: list[Any] = []
    assert ordering.after(ordering.parse(ITEMS, "price"), ITEMS, "r", [Decimal(5), 7], found) == (
        '(r."price", r."id") > ($1::numeric, $2::bigint)'
    )
    assert found == [Decimal(5), 7]


FIELDS = [ITEMS.field("name"), ITEMS.field("sold_at"), ITEMS.field("id")]
SCOPE = ("items", filters.parse(ITEMS, [("price", "gt.5")]), ordering.parse(ITEMS, "name,sold_at"))


def test_a_cursor_brings_back_the_values_of_the_last_row() -> None:
    last = ['a"漢🙂', dt.datetime(2021, 11, 7, 1, 2, 3, 4, tzinfo=dt.UTC), -7]
    text = cursors.encode(SCOPE, last)
    assert text.replace("-", "").replace("_", "").isalnum()
    assert cursors.decode(text, SCOPE, FIELDS) == last
    assert cursors.decode(cursors.encode(SCOPE, ["", None, 1]), SCOPE, FIELDS) == ["", None, 1]


@given(st.text() | st.text("AQIDBAUGBwgJ-_=+/").map(lambda text: cursors.encode(SCOPE, ["a", None, 1]) + text))
@example("")
@example("A")
@example("WzEsMl0")
@example(cursors.encode(SCOPE, ["a", 1, "x"]))
@example(cursors.encode(SCOPE, ["a", None]))
@example(cursors.encode(SCOPE, ["a\0", None, 1]))
@example(cursors.encode((*SCOPE, 1), ["a", None, 1]))
@example(cursors.encode(SCOPE, ["a", None, 1 << 63]))
def test_what_is_no_cursor_of_this_question_is_refused(text: str) -> None:
    if text.rstrip("=") == cursors.encode(SCOPE, ["a", None, 1]):
        return
    with pytest.raises(cursors.InvalidCursor):
        cursors.decode(text, SCOPE, FIELDS)


def test_everything_that_is_wrong_is_reported_at_once() -> None:
    given_ = [("price", "gt.x"), ("name", "like.a"), ("category", "5"), ("limit", "5"), ("order", "x"), ("select", "y")]
    known = ("limit", "order", "select")
    with pytest.raises(Problem) as caught:
        parse_row_query(ITEMS, given_, known, order="x", select="y")
    assert (caught.value.status, caught.value.code) == (422, "invalid_query")
    assert [(one.column, one.code) for one in caught.value.errors] == [
        ("price", "type"),
        ("category", "no_operator"),
        ("order", "unknown_field"),
        ("select", "unknown_field"),
    ]


def test_what_is_neither_field_nor_parameter_is_reported_with_the_nearest() -> None:
    with pytest.raises(Problem) as caught:
        parse_row_query(ITEMS, [("lmit", "5"), ("prise", "gt.5"), ("id", "eq.1")], ("limit",), order=None, select=None)
    assert caught.value.code == "unknown_parameter"
    assert [one.detail for one in caught.value.errors] == [
        "'lmit' is not known: did you mean 'limit'?",
        "'prise' is not known: did you mean 'price'?",
    ]


def test_uuids_are_read_in_any_case() -> None:
    assert values.parse("uuid", "123E4567-E89B-12D3-A456-426614174000") == UUID("123e4567-e89b-12d3-a456-426614174000")


def test_the_page_about_rows_lists_every_operator_and_every_code_word() -> None:
    page = (ROOT / "docs/guides/rows.md").read_text()
    words = set(re.findall(r"[a-z_]+", page))
    assert {*OPERATORS, *STATES, *ordering.MODIFIERS} - {"asc"} <= words
    for state in STATES:
        assert f"is.{state}" in page
