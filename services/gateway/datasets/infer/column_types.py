"""Infers the type of a column from a sample of its values. Pure. Ambiguous columns are text."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from shared.catalog import field_types, literals

LEADING_ZEROS = re.compile(r"[+-]?0[0-9]+(?:\.[0-9]*)?")
DATE_LIKE = re.compile(r"(?:[0-9]{4}([./-])[0-9]{1,2}\1[0-9]{1,2}|[0-9]{1,2}([./-])[0-9]{1,2}\2[0-9]{2,4})(?:[ T].*)?")
BOOLEAN_PAIRS = (("true", "false"), ("yes", "no"), ("t", "f"), ("y", "n"))
CLEAR_BOOLEANS = ("true", "false", "yes", "no")
"""Clear without their counterpart: a column with only "t" is not boolean."""
MIN_WHOLE, MIN_SCALE = 10, 2
SPARE_DIGITS = 3
"""Digits before the point that later values may have in addition to those of the sample."""
MAJORITY = 0.5
"""A larger share of one type makes the values of other types worth a warning."""
MAX_SHOWN = 40


class JsonNumber(str):
    """The text of a JSON number with a fraction or an exponent; its type depends on how it is written."""

    __slots__ = ()


class InferredType(NamedTuple):
    """The type of a column, and if it is not certain, the code and the text of a warning."""

    kind: str
    code: str = ""
    detail: str = ""


def infer_from_text(texts: Sequence[str]) -> InferredType:
    """Infers the type of non-empty CSV cells. Surrounding spaces matter for text only."""
    values = list(dict.fromkeys(text.strip(" ") for text in texts))
    if not values:
        return InferredType("string", "empty_column", "has no value in the sample, so it is text")
    if (number := _infer_numbers(values)) is not None:
        return number
    words = {value.lower() for value in values}
    if any(words <= set(pair) and (len(words) > 1 or words & set(CLEAR_BOOLEANS)) for pair in BOOLEAN_PAIRS):
        return InferredType("boolean")
    if all(value[:1] in ("{", "[") and literals.is_object(value) for value in values):
        return InferredType("object")
    return _infer_other(values) or _mixed(values)


def infer_from_json(values: Sequence[Any]) -> InferredType:
    """Infers the type of JSON values other than null. Quoted numbers are text."""
    json_types = {_json_type(value) for value in values}
    if len(json_types) > 1:
        listed = " and ".join(sorted(json_types))
        refused = ", which objects can't become" if "object" in json_types else ""
        return InferredType(
            "string", "mixed_types", f"has values of different types ({listed}), so it is text{refused}"
        )
    match json_types.pop() if json_types else "":
        case "string":
            texts = [value for value in values if value]
            return _infer_other(texts) or _mixed_dates(texts) or InferredType("string")
        case "number":
            return _infer_json_numbers([str(value) for value in values])
        case "boolean" | "object" as kind:
            return InferredType(kind)
    return infer_from_text([])


def _json_type(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int() | JsonNumber():
            return "number"
        case str():
            return "string"
    return "object"


def _infer_json_numbers(values: Sequence[str]) -> InferredType:
    """Returns a numeric type in any case, if necessary an inexact one."""
    inferred = _infer_numbers(values)
    if inferred is not None and not inferred.code:
        return inferred
    exact = f"decimal({field_types.MOST_DIGITS},0)"
    kind = exact if all(map(field_types.find(exact).holds, values)) else "number"
    return InferredType(
        kind, "big_int", f"has numbers beyond 64 bits, such as {max(values, key=len)[:MAX_SHOWN]}, so it is {kind}"
    )


def _infer_numbers(values: Sequence[str]) -> InferredType | None:
    """Returns None if not all values are numbers."""
    if all(literals.INTEGER.fullmatch(value) or literals.NUMBER.fullmatch(value) for value in values):
        zeros = next((value for value in values if LEADING_ZEROS.fullmatch(value)), None)
        if zeros is not None:
            return InferredType(
                "string", "leading_zeros", f"has leading zeros, as in {zeros!r}, which numbers would lose"
            )
    if all(map(literals.is_integer, values)):
        return InferredType("integer")
    places = [literals.count_digits(value) for value in values]
    plain = [place for place in places if place is not None]
    if len(plain) < len(values):
        return InferredType("number") if all(map(literals.is_number, values)) else None
    whole, scale = max(before for before, _ in plain), max(behind for _, behind in plain)
    if whole + scale > field_types.MOST_DIGITS or scale == 0:
        longest = max(values, key=len)
        return InferredType(
            "string", "big_int", f"has numbers beyond 64 bits, such as {longest[:MAX_SHOWN]}, so it is text"
        )
    scale = max(scale, min(MIN_SCALE, field_types.MOST_DIGITS - whole))
    digits = min(field_types.MOST_DIGITS, max(MIN_WHOLE, whole + SPARE_DIGITS) + scale)
    return InferredType(f"decimal({digits},{scale})")


def _infer_other(values: Sequence[str]) -> InferredType | None:
    for field_type in field_types.distinct() if values else ():
        if all(map(field_type.holds, values)):
            return InferredType(field_type.name)
    return None


def _mixed(values: Sequence[str]) -> InferredType:
    """Returns text, with a warning if most of the values have another type."""
    for field_type in (field_types.find("integer"), field_types.find("number"), *field_types.distinct()):
        kind, others = field_type.name, [value for value in values if not field_type.holds(value)]
        if len(others) < (1 - MAJORITY) * len(values):
            share = f"{len(others)} of {len(values)} different values, such as {others[0][:MAX_SHOWN]!r}"
            detail = f"is {kind} but for {share}, so it is text"
            is_date = kind in ("date", "datetime") and DATE_LIKE.fullmatch(others[0])
            return InferredType("string", "mixed_dates" if is_date else "mixed_types", detail)
    return _mixed_dates(values) or InferredType("string")


def _mixed_dates(values: Sequence[str]) -> InferredType | None:
    """Returns text with a warning if most values are dates, but not all in one ISO format."""
    dates = [value for value in values if DATE_LIKE.fullmatch(value)]
    if len(dates) <= MAJORITY * len(values):
        return None
    for value in dates:
        if not literals.is_date(value) and not literals.is_datetime(value):
            reason = "is no valid date" if value[:4].isdigit() else "can be read in several ways"
            detail = f"has dates like {value[:MAX_SHOWN]}, which {reason}, so it is text"
            return InferredType("string", "mixed_dates", detail)
    if len({len(value) > len("2021-11-07") for value in dates}) > 1:
        return InferredType("string", "mixed_dates", "has dates with and without a time of day, so it is text")
    return None
