"""The search index of a dataset: its tables, its declaration, and its freshness."""

import datetime as dt
from collections.abc import Sequence
from typing import Literal
from uuid import UUID

import msgspec

from shared.catalog.dataset import Search
from shared.db import Connection

LABELS = "ABCD"
"""The weight labels of a `tsvector`: Postgres has four."""


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """One generation of a dataset's index: the documents, and the vocabulary of their words."""

    dataset: str
    generation: int
    search: Search
    state: Literal["serving", "building"]
    version: int = 0
    """The generation was built from the chunks up to this version of the dataset."""
    job_id: UUID | None = None
    """The job that rebuilds the index."""
    rows: int = 0
    """Postgres' estimate of the number of documents; 0 before the first ANALYZE."""

    @property
    def documents(self) -> str:
        """The table of documents, one for each row of the dataset: key columns, `_version`, `_words`."""
        return self._table("")

    @property
    def words(self) -> str:
        """The table of the vocabulary: `word, lexeme, documents, occurrences`.

        It has every word of the documents, and may have words whose documents are gone.
        """
        return self._table("w")

    @property
    def deltas(self) -> str:
        """The table of word counts that are not merged into `words` yet."""
        return self._table("n")

    @property
    def gin_index(self) -> str:
        """The GIN index on `_words`."""
        return self._table("x")

    def _table(self, letter: str) -> str:
        return f'documents."{self.dataset}__{self.generation}{letter}"'

    def label(self, field: str) -> str:
        """Returns the label of a field. The first three fields have their own, the others share the last."""
        return LABELS[min(self.search.fields.index(field), len(LABELS) - 1)]

    def weights_of(self, fields: Sequence[str]) -> list[float]:
        """Returns the weights of D, C, B, A for `ts_rank`; 0 for fields that are not searched."""
        searched = [name for name in self.search.fields if name in fields or not fields]
        weights = {self.label(name): self.search.weights.get(name, 1.0) for name in searched}
        largest = max(weights.values(), default=1.0)
        return [weights.get(label, 0.0) / largest for label in reversed(LABELS)]


class IndexState(msgspec.Struct, frozen=True, kw_only=True):
    """The serving generation of an index, and the `next` one, with its number of pieces and those that are `done`.

    `job_id` is the job that builds the next one. `documents` is an estimate, `words` the number of different words.
    """

    generation: int | None
    made_at: dt.datetime | None
    documents: int
    words: int
    version: int
    dataset_version: int
    next: int | None
    job_id: UUID | None
    began_at: dt.datetime | None
    pieces: int
    done: int


class Freshness(msgspec.Struct, frozen=True):
    """The versions up to which the rows are loaded, the documents indexed, and the words counted."""

    dataset: int
    indexed: int
    counted: int


async def select_index(db: Connection, dataset: str) -> Index | None:
    """Selects the generation that serves searches; None before the first is built."""
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


async def select_index_with_freshness(db: Connection, dataset: str) -> tuple[Index | None, Freshness]:
    """Selects both in one round trip."""
    (row,) = await db.fetch(
        """
        SELECT coalesce(d.version, 0) AS version, coalesce(f.indexed, 0) AS indexed, coalesce(f.counted, 0) AS counted,
               i.generation, i.search, i.state, greatest(c.reltuples, 0)::bigint AS rows, c.oid IS NOT NULL AS is_built
        FROM (SELECT $1::text AS name) n
        LEFT JOIN ingestor.datasets d ON d.name = n.name
        LEFT JOIN indexer.freshness f ON f.dataset = d.name
        LEFT JOIN indexer.indexes i ON i.dataset = n.name AND i.state = 'serving'
        LEFT JOIN pg_class c ON c.oid = to_regclass('documents.' || quote_ident(i.dataset || '__' || i.generation))
        """,
        dataset,
    )
    index = None
    if row["is_built"]:
        search = msgspec.convert(row["search"], Search)
        index = Index(
            dataset=dataset, generation=row["generation"], search=search, state=row["state"], rows=row["rows"]
        )
    return index, Freshness(row["version"], row["indexed"], row["counted"])


async def select_freshness(db: Connection, dataset: str) -> Freshness:
    """Selects the freshness of a dataset. Some of the later versions may be indexed and counted, too."""
    row = await db.fetchrow(
        """
        SELECT d.version, coalesce(f.indexed, 0) AS indexed, coalesce(f.counted, 0) AS counted
        FROM ingestor.datasets d LEFT JOIN indexer.freshness f ON f.dataset = d.name WHERE d.name = $1
        """,
        dataset,
    )
    return Freshness(row["version"], row["indexed"], row["counted"]) if row else Freshness(0, 0, 0)


async def select_state(db: Connection, dataset: str) -> IndexState:
    """Selects the state of the index. Raises LookupError if there is no such dataset."""
    row = await db.fetchrow(
        """
        SELECT i.generation, i.made_at, coalesce(greatest(c.reltuples, 0), 0)::bigint AS documents,
               coalesce(i.words, 0) AS words, coalesce(f.indexed, 0) AS version, d.version AS dataset_version,
               b.generation AS next, b.job_id, b.made_at AS began_at, p.pieces, p.done
        FROM ingestor.datasets d
        LEFT JOIN indexer.freshness f ON f.dataset = d.name
        LEFT JOIN indexer.indexes i ON i.dataset = d.name AND i.state = 'serving'
        LEFT JOIN indexer.indexes b ON b.dataset = d.name AND b.state = 'building'
        LEFT JOIN pg_class c ON c.oid = to_regclass(format('documents.%I', d.name || '__' || i.generation))
        CROSS JOIN LATERAL (
            SELECT count(*) AS pieces, count(done_at) AS done FROM indexer.pieces p
            WHERE p.dataset = d.name AND p.generation = b.generation
        ) p
        WHERE d.name = $1
        """,
        dataset,
    )
    if row is None:
        raise LookupError(dataset)
    return IndexState(**row)


async def count_words(db: Connection, dataset: str) -> int:
    """Returns the number of different words."""
    count: int | None = await db.fetchval(
        "SELECT words FROM indexer.indexes WHERE dataset = $1 AND state = 'serving'", dataset
    )
    return count or 0
