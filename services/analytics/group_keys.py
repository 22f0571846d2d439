"""SQL for the group key of a rollup."""

from shared.catalog import field_types
from shared.catalog.dataset import Dataset
from shared.catalog.rollup import Group, Rollup
from shared.search import tokenizer

LOWER = 'lower({} COLLATE "und-x-icu")'
"""Lowercases like Python. Postgres' default depends on the locale for a final capital sigma and for the dotted I."""
PARTS = {
    "year": "extract(year FROM {})::int",
    "quarter": "extract(quarter FROM {})::int",
    "month": "date_trunc('month', {})::date",
    "date": "({})::date",
    "domain": "CASE WHEN {0} LIKE '%@%' THEN nullif(" + LOWER.format("split_part({0}, '@', -1)") + ", '') END",
}
"""Datetimes are in UTC: all connections set that time zone."""
DATE, TEXT = ("date", "'epoch'::date"), ("text", "''")
TYPES = {
    "year": ("integer", "0"),
    "quarter": ("integer", "0"),
    "month": DATE,
    "date": DATE,
    "domain": TEXT,
    "word": TEXT,
}
"""The SQL type of each part, and a constant that stands for null where keys are compared."""


def source(rollup: Rollup, rows: str) -> str:
    """Returns `rows` x, one for each group of a row: one, or one for each distinct word of a text."""
    field = next((group.field for group in rollup.groups if group.part == "word"), None)
    if field is None:
        return rows
    text = f"normalize({LOWER.format(_field(field))}, NFC)"
    found = (
        f"SELECT found FROM regexp_matches({text}, '{tokenizer.WORD.pattern}', 'g') found LIMIT {tokenizer.MAX_WORDS}"
    )
    distinct = f"SELECT DISTINCT left(found[1], {tokenizer.MAX_WORD_LENGTH}) AS word FROM ({found}) f"
    return f"{rows} CROSS JOIN LATERAL ({distinct}) w"


def columns(rollup: Rollup) -> str:
    """The key columns, computed from row x."""
    return ", ".join(f'{_expression(group)} AS "{group.column}"' for group in rollup.groups)


def names(rollup: Rollup, table: str = "") -> str:
    """The names of the key columns, qualified if a table is given."""
    prefix = f"{table}." if table else ""
    return ", ".join(f'{prefix}"{group.column}"' for group in rollup.groups)


def definitions(dataset: Dataset, rollup: Rollup) -> list[str]:
    """The key columns as CREATE TABLE defines them."""
    return [f'"{group.column}" {_type(dataset, group)[0]}' for group in rollup.groups]


def same(dataset: Dataset, rollup: Rollup, left: str, right: str) -> str:
    """A condition that two keys are equal, null equal to null, in a form that allows a hash join."""
    return " AND ".join(
        f"({_column(left, group)} IS NULL) = ({_column(right, group)} IS NULL)"
        f" AND coalesce({_column(left, group)}, {_type(dataset, group)[1]})"
        f" = coalesce({_column(right, group)}, {_type(dataset, group)[1]})"
        for group in rollup.groups
    )


def _field(field: str) -> str:
    return f'x."{field}"'


def _expression(group: Group) -> str:
    if group.part == "word":
        return "w.word"
    return PARTS[group.part].format(_field(group.field)) if group.part else _field(group.field)


def _column(table: str, group: Group) -> str:
    return f'{table}."{group.column}"'


def _type(dataset: Dataset, group: Group) -> tuple[str, str]:
    if group.part:
        return TYPES[group.part]
    field_type = field_types.find(dataset.field(group.field).type)
    return field_type.sql, field_type.placeholder
