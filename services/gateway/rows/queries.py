"""Queries of the rows of a dataset: a page of them, how many there are, all of them one piece after the other."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Self

import msgspec

from services.gateway.http.row_query import Question
from shared.db import Connection
from shared.search import filters, ordering
from shared.search.columns import quoted

MOST_SECONDS = 15.0


class TooSlow(Exception):
    """Postgres needs longer than anybody should wait: the question must be narrower."""


class Page(msgspec.Struct, frozen=True):
    """Rows, and the values of the last one that place it in the order, if there are more behind it."""

    data: list[dict[str, Any]]
    last: tuple[Any, ...] | None


async def select_page(
    db: Connection, question: Question, *, limit: int, offset: int = 0, after: Sequence[Any] | None = None
) -> Page:
    """Rows behind those that have the values `after`, or behind the first `offset`. Raises TooSlow."""
    dataset, terms = question.dataset, question.order
    values: list[Any] = []
    conditions = [filters.sql(question.filters, dataset, "r", values)]
    if after is not None:
        conditions.append(ordering.after(terms, dataset, "r", after, values))
    places = [
        f'{expression} AS "_{number}"' for number, expression in enumerate(ordering.expressions(terms, dataset, "r"))
    ]
    with _hurried():
        rows = await db.fetch(
            f"""
            SELECT {_columns(question)}, {", ".join(places)} FROM data."{dataset.name}" r
            WHERE {" AND ".join(conditions)} ORDER BY {ordering.sql(terms, dataset, "r")}
            LIMIT ${len(values) + 1} OFFSET ${len(values) + 2}
            """,
            *values,
            limit + 1,
            offset,
            timeout=MOST_SECONDS,
        )
    page = [tuple(row) for row in rows[:limit]]
    width = len(question.columns)
    last = page[-1][width:] if len(rows) > limit else None
    return Page([dict(zip(question.columns, row, strict=False)) for row in page], last)


async def count(db: Connection, question: Question) -> int:
    """All rows that are asked for. Raises TooSlow."""
    values: list[Any] = []
    condition = filters.sql(question.filters, question.dataset, "r", values)
    with _hurried():
        found: int = await db.fetchval(
            f'SELECT count(*) FROM data."{question.dataset.name}" r WHERE {condition}', *values, timeout=MOST_SECONDS
        )
    return found


async def estimate(db: Connection, question: Question) -> int:
    """As many as Postgres expects."""
    values: list[Any] = []
    condition = filters.sql(question.filters, question.dataset, "r", values)
    (plan,) = await db.fetchval(
        f'EXPLAIN (FORMAT JSON) SELECT FROM data."{question.dataset.name}" r WHERE {condition}', *values
    )
    return int(plan["Plan"]["Plan Rows"])


class Stream:
    """Rows as one moment had them, to be fetched within the transaction that it was opened in."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    @classmethod
    async def open(cls, db: Connection, question: Question, *, ordered: bool, limit: int | None) -> Self:
        """All rows, or so many; unless they are to be `ordered`, as they lie, for to sort a large table takes long."""
        dataset = question.dataset
        values: list[Any] = []
        condition = filters.sql(question.filters, dataset, "r", values)
        order = f"ORDER BY {ordering.sql(question.order, dataset, 'r')}" if ordered else ""
        statement = f"""
            SELECT {_columns(question)} FROM data."{dataset.name}" r WHERE {condition} {order} LIMIT ${len(values) + 1}
            """
        with _hurried():
            return cls(await db.cursor(statement, *values, limit, timeout=MOST_SECONDS))

    async def fetch(self, most: int) -> list[tuple[Any, ...]]:
        """The next ones; none at the end. Raises TooSlow."""
        with _hurried():
            return [tuple(row) for row in await self._cursor.fetch(most, timeout=MOST_SECONDS)]


def _columns(question: Question) -> str:
    return ", ".join(quoted("r", name) for name in question.columns)


@contextlib.contextmanager
def _hurried() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise TooSlow(f"longer than {MOST_SECONDS:.0f} s") from error
