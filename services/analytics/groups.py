"""What the rows of a dataset are grouped by, as SQL. Pure."""

from shared.catalog import kinds
from shared.catalog.dataset import Dataset
from shared.catalog.rollup import Group, Rollup
from shared.search import tokenizer

LOWER = 'lower({} COLLATE "und-x-icu")'
"""As Python's own: Postgres' alone leaves the capital sigma at a word's end and the dotted capital I to the locale."""
PARTS = {
    "year": "extract(year FROM {})::int",
    "quarter": "extract(quarter FROM {})::int",
    "month": "date_trunc('month', {})::date",
    "date": "({})::date",
    "domain": "CASE WHEN {0} LIKE '%@%' THEN nullif(" + LOWER.format("split_part({0}, '@', -1)") + ", '') END",
}
"""Of a datetime in UTC, which every connection of ours is set to."""
TYPES = {"year": "integer", "quarter": "integer", "month": "date", "date": "date", "domain": "text", "word": "text"}
ZEROS = {
    "boolean": "false",
    "date": "'epoch'::date",
    "timestamptz": "'epoch'::timestamptz",
    "text": "''",
    "time": "'00:00'::time",
    "uuid": "'00000000-0000-0000-0000-000000000000'::uuid",
}
"""Something of a type, to stand for null where values are compared; of the other types, it is 0."""


def source(rollup: Rollup, rows: str) -> str:
    """`rows` as x, each as often as it belongs to a group: once, or once for each different word of a text."""
    field = next((group.field for group in rollup.groups if group.part == "word"), None)
    if field is None:
        return rows
    text = f"normalize({LOWER.format(_of(field))}, NFC)"
    found = (
        f"SELECT found FROM regexp_matches({text}, '{tokenizer.WORD.pattern}', 'g') found LIMIT {tokenizer.MAX_WORDS}"
    )
    distinct = f"SELECT DISTINCT left(found[1], {tokenizer.MAX_WORD_LENGTH}) AS word FROM ({found}) f"
    return f"{rows} CROSS JOIN LATERAL ({distinct}) w"


def columns(rollup: Rollup) -> str:
    """The key of a group of x."""
    return ", ".join(f'{_expression(group)} AS "{group.column}"' for group in rollup.groups)


def names(rollup: Rollup, table: str = "") -> str:
    """The columns of the key, of a table or by themselves."""
    prefix = f"{table}." if table else ""
    return ", ".join(f'{prefix}"{group.column}"' for group in rollup.groups)


def definitions(dataset: Dataset, rollup: Rollup) -> list[str]:
    """The columns of the key, for the table."""
    return [f'"{group.column}" {_type(dataset, group)}' for group in rollup.groups]


def same(dataset: Dataset, rollup: Rollup, left: str, right: str) -> str:
    """Whether two keys are the same, null being equal to null: in words that can be joined by a hash."""
    return " AND ".join(
        f"({_column(left, group)} IS NULL) = ({_column(right, group)} IS NULL)"
        f" AND coalesce({_column(left, group)}, {_zero(dataset, group)})"
        f" = coalesce({_column(right, group)}, {_zero(dataset, group)})"
        for group in rollup.groups
    )


def _of(field: str) -> str:
    return f'x."{field}"'


def _expression(group: Group) -> str:
    if group.part == "word":
        return "w.word"
    return PARTS[group.part].format(_of(group.field)) if group.part else _of(group.field)


def _column(table: str, group: Group) -> str:
    return f'{table}."{group.column}"'


def _type(dataset: Dataset, group: Group) -> str:
    return TYPES[group.part] if group.part else kinds.sql(dataset.field(group.field).type)


def _zero(dataset: Dataset, group: Group) -> str:
    return ZEROS.get(_type(dataset, group), "0")
