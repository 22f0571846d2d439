"""The search index of a dataset: which tables it is, and what it was made of."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from shared.catalog.dataset import Search
from shared.db import Connection

LABELS = "ABCD"
"""Postgres marks where a word stands with one of four letters."""


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """One generation of a dataset's documents, with the vocabulary of their words."""

    dataset: str
    generation: int
    search: Search
    state: Literal["serving", "building"]
    rows: int = 0
    """As Postgres estimates; 0 if it doesn't know yet."""

    @property
    def documents(self) -> str:
        """Key columns, `_version`, `_words`: a row for each row of the dataset."""
        return self._table("")

    @property
    def words(self) -> str:
        """`word, lexeme, documents, occurrences`: every word of the documents; of those that are gone, some."""
        return self._table("w")

    @property
    def news(self) -> str:
        """What was added to the counts and is not in `words` yet."""
        return self._table("n")

    @property
    def lookup(self) -> str:
        """The GIN index over the documents' words."""
        return self._table("x")

    def _table(self, letter: str) -> str:
        return f'documents."{self.dataset}__{self.generation}{letter}"'

    def label(self, field: str) -> str:
        """The first three fields have letters of their own, the others share the last."""
        return LABELS[min(self.search.fields.index(field), len(LABELS) - 1)]

    def weights_of(self, fields: Sequence[str]) -> list[float]:
        """As `ts_rank` wants them: of D, C, B, A; nothing for fields that are not asked for, if any are."""
        asked = [name for name in self.search.fields if name in fields or not fields]
        of = {self.label(name): self.search.weights.get(name, 1.0) for name in asked}
        most = max(of.values(), default=1.0)
        return [of.get(label, 0.0) / most for label in reversed(LABELS)]


class Fresh(msgspec.Struct, frozen=True):
    """Versions of a dataset: that its rows have, that search sees, that the counts of words see."""

    dataset: int
    indexed: int
    counted: int


async def select_index(db: Connection, dataset: str) -> Index | None:
    """The generation that answers questions; none before the first is built."""
    row = await db.fetchrow(
        """
        SELECT i.dataset, i.generation, i.search, i.state, greatest(c.reltuples, 0)::bigint AS rows
        FROM indexer.indexes i
        JOIN pg_class c ON c.oid = to_regclass(format('documents.%I', i.dataset || '__' || i.generation))
        WHERE i.dataset = $1 AND i.state = 'serving'
        """,
        dataset,
    )
    return msgspec.convert(dict(row), Index) if row else None


async def select_fresh(db: Connection, dataset: str) -> Fresh:
    """Everything up to these versions is there; of what came later, some may be."""
    row = await db.fetchrow(
        """
        SELECT d.version, coalesce(f.indexed, 0) AS indexed, coalesce(f.counted, 0) AS counted
        FROM ingestor.datasets d LEFT JOIN indexer.freshness f ON f.dataset = d.name WHERE d.name = $1
        """,
        dataset,
    )
    return Fresh(row["version"], row["indexed"], row["counted"]) if row else Fresh(0, 0, 0)
