"""Which type holds all values of a column, as far as a sample shows. Pure. What is ambiguous stays text."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from shared.catalog import field_types, literals

ZEROS = re.compile(r"[+-]?0[0-9]+(?:\.[0-9]*)?")
LOOKS_LIKE_DATE = re.compile(
    r"(?:[0-9]{4}([./-])[0-9]{1,2}\1[0-9]{1,2}|[0-9]{1,2}([./-])[0-9]{1,2}\2[0-9]{2,4})(?:[ T].*)?"
)
PAIRS = (("true", "false"), ("yes", "no"), ("t", "f"), ("y", "n"))
TELLING = ("true", "false", "yes", "no")
"""Which mean something by themselves; a column of nothing but t is no column of booleans."""
LEAST_WHOLE, LEAST_SCALE = 10, 2
ROOM = 3
"""Digits before the point that later values may have more than those of the sample."""
MOST = 0.5
"""The share of values of one type that makes the others remarkable."""
SHOWN = 40


class Written(str):
    """A number of JSON with a fraction or an exponent, as it is written: its type depends on that."""

    __slots__ = ()


class Column(NamedTuple):
    """The type; and if that was not clear, the code of a warning and what is remarkable."""

    kind: str
    code: str = ""
    detail: str = ""


def of_texts(texts: Sequence[str]) -> Column:
    """Of the cells that have something in them; spaces around them count for text only."""
    values = list(dict.fromkeys(text.strip(" ") for text in texts))
    if not values:
        return Column("string", "empty_column", "has no value in the sample, so it is text")
    if (number := of_numbers(values)) is not None:
        return number
    words = {value.lower() for value in values}
    if any(words <= set(pair) and (len(words) > 1 or words & set(TELLING)) for pair in PAIRS):
        return Column("boolean")
    if all(value[:1] in ("{", "[") and literals.is_object(value) for value in values):
        return Column("object")
    return _of_sorts(values) or _mixed(values)


def of_values(values: Sequence[Any]) -> Column:
    """Of the values of JSON that are not null. Numbers in quotes are text, since somebody has put them there."""
    sorts = {_sort(value) for value in values}
    if len(sorts) > 1:
        told = " and ".join(sorted(sorts))
        refused = ", which objects can't become" if "object" in sorts else ""
        return Column("string", "mixed_types", f"has values of different sorts ({told}), so it is text{refused}")
    match sorts.pop() if sorts else "":
        case "string":
            texts = [value for value in values if value]
            return _of_sorts(texts) or _mixed_dates(texts) or Column("string")
        case "number":
            return _of_json_numbers([str(value) for value in values])
        case "boolean" | "object" as kind:
            return Column(kind)
    return of_texts([])


def _sort(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int() | Written():
            return "number"
        case str():
            return "string"
    return "object"


def _of_json_numbers(values: Sequence[str]) -> Column:
    """Always of a type that takes numbers, if need be an inexact one."""
    found = of_numbers(values)
    if found is not None and not found.code:
        return found
    exact = f"decimal({field_types.MOST_DIGITS},0)"
    kind = exact if all(map(field_types.find(exact).holds, values)) else "number"
    return Column(kind, "big_int", f"has numbers beyond 64 bits, as {max(values, key=len)[:SHOWN]}, so it is {kind}")


def of_numbers(values: Sequence[str]) -> Column | None:
    """None if something else is among them."""
    if all(literals.INTEGER.fullmatch(value) or literals.NUMBER.fullmatch(value) for value in values):
        zeros = next((value for value in values if ZEROS.fullmatch(value)), None)
        if zeros is not None:
            return Column(
                "string", "leading_zeros", f"has leading zeros, as in {zeros!r}; as a number it would lose them"
            )
    if all(literals.is_integer(value) for value in values):
        return Column("integer")
    places = [literals.count_digits(value) for value in values]
    plain = [place for place in places if place is not None]
    if len(plain) < len(values):
        return Column("number") if all(literals.is_number(value) for value in values) else None
    whole, scale = max(before for before, _ in plain), max(behind for _, behind in plain)
    if whole + scale > field_types.MOST_DIGITS or scale == 0:
        longest = max(values, key=len)
        return Column("string", "big_int", f"has numbers beyond 64 bits, as {longest[:SHOWN]}, so it is text")
    scale = max(scale, min(LEAST_SCALE, field_types.MOST_DIGITS - whole))
    digits = min(field_types.MOST_DIGITS, max(LEAST_WHOLE, whole + ROOM) + scale)
    return Column(f"decimal({digits},{scale})")


def _of_sorts(values: Sequence[str]) -> Column | None:
    for field_type in field_types.distinct() if values else ():
        if all(map(field_type.holds, values)):
            return Column(field_type.name)
    return None


def _mixed(values: Sequence[str]) -> Column:
    """Text, unless most of the values are something else: then there is something to tell."""
    for field_type in (field_types.find("integer"), field_types.find("number"), *field_types.distinct()):
        kind, others = field_type.name, [value for value in values if not field_type.holds(value)]
        if len(others) < (1 - MOST) * len(values):
            share = f"{len(others)} of {len(values)} different values, as {others[0][:SHOWN]!r}"
            detail = f"is {kind} but for {share}, so it is text"
            odd = kind in ("date", "datetime") and LOOKS_LIKE_DATE.fullmatch(others[0])
            return Column("string", "mixed_dates" if odd else "mixed_types", detail)
    return _mixed_dates(values) or Column("string")


def _mixed_dates(values: Sequence[str]) -> Column | None:
    """If most are dates, and written in another way than ISO's, or in several."""
    dates = [value for value in values if LOOKS_LIKE_DATE.fullmatch(value)]
    if len(dates) <= MOST * len(values):
        return None
    for value in dates:
        if not literals.is_date(value) and not literals.is_datetime(value):
            why = "is on no calendar" if value[:4].isdigit() else "can be read in several ways"
            detail = f"has dates like {value[:SHOWN]}, which {why}, so it is text"
            return Column("string", "mixed_dates", detail)
    if len({len(value) > len("2021-11-07") for value in dates}) > 1:
        return Column("string", "mixed_dates", "has dates with and without a time of day, so it is text")
    return None
