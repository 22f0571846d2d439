"""Queries about the rows of a dataset: a page, a count, a stream of all rows, one row by its key."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Self

import msgspec

from services.gateway.http.row_query import RowQuery
from shared.catalog.dataset import Dataset
from shared.db import Connection
from shared.reads.ingestor.tables import data_table
from shared.search import filters, ordering, values
from shared.search.columns import columns, quote_column

TIMEOUT_SECONDS = 15.0


class QueryTimeout(Exception):
    """Postgres did not finish within TIMEOUT_SECONDS."""


class InvalidKey(ValueError):
    """The text can't be a key of the dataset."""


class Page(msgspec.Struct, frozen=True):
    """Rows, and the order's values of the last one if more rows follow."""

    data: list[dict[str, Any]]
    last: tuple[Any, ...] | None


async def select_page(
    db: Connection, query: RowQuery, *, limit: int, offset: int = 0, after: Sequence[Any] | None = None
) -> Page:
    """Returns the rows after the one with the order's values `after`, or after `offset` rows. Raises QueryTimeout."""
    dataset, terms = query.dataset, query.order
    parameters: list[Any] = []
    conditions = [filters.to_sql(query.filters, dataset, "r", parameters)]
    if after is not None:
        conditions.append(ordering.after(terms, dataset, "r", after, parameters))
    order_values = [
        f'{expression} AS "_{number}"' for number, expression in enumerate(ordering.expressions(terms, dataset, "r"))
    ]
    with _raise_query_timeout():
        rows = await db.fetch(
            f"""
            SELECT {_columns(query)}, {", ".join(order_values)} FROM {data_table(dataset.name)} r
            WHERE {" AND ".join(conditions)} ORDER BY {ordering.to_sql(terms, dataset, "r")}
            LIMIT ${len(parameters) + 1} OFFSET ${len(parameters) + 2}
            """,
            *parameters,
            limit + 1,
            offset,
            timeout=TIMEOUT_SECONDS,
        )
    page = [tuple(row) for row in rows[:limit]]
    width = len(query.columns)
    last = page[-1][width:] if len(rows) > limit else None
    return Page([dict(zip(query.columns, row, strict=False)) for row in page], last)


async def count(db: Connection, query: RowQuery) -> int:
    """Returns the number of all matching rows. Raises QueryTimeout."""
    parameters: list[Any] = []
    condition = filters.to_sql(query.filters, query.dataset, "r", parameters)
    with _raise_query_timeout():
        total: int = await db.fetchval(
            f"SELECT count(*) FROM {data_table(query.dataset.name)} r WHERE {condition}",
            *parameters,
            timeout=TIMEOUT_SECONDS,
        )
    return total


async def estimate(db: Connection, query: RowQuery) -> int:
    """Returns the number of matching rows that Postgres' planner expects."""
    parameters: list[Any] = []
    condition = filters.to_sql(query.filters, query.dataset, "r", parameters)
    (plan,) = await db.fetchval(
        f"EXPLAIN (FORMAT JSON) SELECT FROM {data_table(query.dataset.name)} r WHERE {condition}", *parameters
    )
    return int(plan["Plan"]["Plan Rows"])


class RowStream:
    """Rows of one snapshot, fetched through a cursor within the transaction that opened it."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    @classmethod
    async def open(cls, db: Connection, query: RowQuery, *, ordered: bool, limit: int | None) -> Self:
        """Opens a stream of all rows, or of `limit`. Unless `ordered`, in table order: sorting a large table is slow.

        Raises QueryTimeout.
        """
        dataset = query.dataset
        parameters: list[Any] = []
        condition = filters.to_sql(query.filters, dataset, "r", parameters)
        order = f"ORDER BY {ordering.to_sql(query.order, dataset, 'r')}" if ordered else ""
        statement = f"""
            SELECT {_columns(query)} FROM {data_table(dataset.name)} r WHERE {condition} {order}
            LIMIT ${len(parameters) + 1}
            """
        with _raise_query_timeout():
            return cls(await db.cursor(statement, *parameters, limit, timeout=TIMEOUT_SECONDS))

    async def fetch(self, limit: int) -> list[tuple[Any, ...]]:
        """Returns the next rows, none at the end. Raises QueryTimeout."""
        with _raise_query_timeout():
            return [tuple(row) for row in await self._cursor.fetch(limit, timeout=TIMEOUT_SECONDS)]


async def select_row(db: Connection, dataset: Dataset, key: str) -> dict[str, Any] | None:
    """Returns the row with this key, or None. Commas separate the parts of a compound key. Raises InvalidKey."""
    parts = parse_key(dataset, key)
    conditions = " AND ".join(f'"{name}" = ${number}' for number, name in enumerate(dataset.key, 1))
    selected = ", ".join(f'"{name}"' for name in columns(dataset))
    row = await db.fetchrow(f"SELECT {selected} FROM {data_table(dataset.name)} WHERE {conditions}", *parts)
    return dict(row) if row else None


def parse_key(dataset: Dataset, key: str) -> list[Any]:
    """Returns the values of the key's fields. Raises InvalidKey."""
    parts = key.split(",") if len(dataset.key) > 1 else [key]
    if len(parts) != len(dataset.key):
        raise InvalidKey(f"The key has the parts {', '.join(dataset.key)}, separated by commas")
    fields = columns(dataset)
    parsed = []
    for name, part in zip(dataset.key, parts, strict=True):
        try:
            parsed.append(values.parse(fields[name].type, part))
        except values.InvalidValue as error:
            raise InvalidKey(f"{name} {error}") from error
    return parsed


def _columns(query: RowQuery) -> str:
    return ", ".join(quote_column("r", name) for name in query.columns)


@contextlib.contextmanager
def _raise_query_timeout() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise QueryTimeout(f"longer than {TIMEOUT_SECONDS:.0f} s") from error
