"""The types a field may have, in the declaration's words and in Postgres'."""

import re

MOST_DIGITS = 38
DECIMAL = re.compile(r"^decimal\(([0-9]{1,3}),([0-9]{1,3})\)\Z")
SQL = {
    "integer": "bigint",
    "number": "double precision",
    "string": "text",
    "boolean": "boolean",
    "date": "date",
    "datetime": "timestamptz",
    "time": "time",
    "uuid": "uuid",
    "object": "jsonb",
}
NUMERIC = ("integer", "number", "decimal")


def base(kind: str) -> str:
    """`decimal(15,2)` is a `decimal`; every other type is its own base."""
    return "decimal" if DECIMAL.match(kind) else kind


def precision(kind: str) -> tuple[int, int]:
    """Digits in all and behind the point of a decimal type."""
    match = DECIMAL.match(kind)
    if match is None:
        raise ValueError(f"{kind} is not a decimal type")
    return int(match[1]), int(match[2])


def is_known(kind: str) -> bool:
    """Whether a declaration may name this type."""
    if kind in SQL:
        return True
    if DECIMAL.match(kind) is None:
        return False
    digits, scale = precision(kind)
    return 1 <= digits <= MOST_DIGITS and scale <= digits


def sql(kind: str) -> str:
    """The Postgres type that holds a value of this type."""
    if kind in SQL:
        return SQL[kind]
    digits, scale = precision(kind)
    return f"numeric({digits},{scale})"
