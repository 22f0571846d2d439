"""Queries of what the indexer has made, and is making, of a dataset."""

import datetime as dt

import msgspec

from shared.db import Connection


class Building(msgspec.Struct, frozen=True):
    """The next generation of documents: of so many pieces, so many are done."""

    generation: int
    pieces: int
    pieces_done: int
    percent: float
    began_at: dt.datetime


class IndexBody(msgspec.Struct, frozen=True, kw_only=True):
    """The documents that answer, null before the first ones, and those that are being built to take their place.

    `documents` is an estimate; `words` are different ones. Everything up to `version` can be found.
    """

    generation: int | None
    made_at: dt.datetime | None
    documents: int
    words: int
    version: int
    dataset_version: int
    building: Building | None


async def select_index(db: Connection, dataset: str) -> IndexBody:
    """As it stands."""
    row = await db.fetchrow(
        """
        SELECT i.generation, i.made_at, coalesce(greatest(c.reltuples, 0), 0)::bigint AS documents,
               coalesce(i.words, 0) AS words, coalesce(f.indexed, 0) AS version, d.version AS dataset_version,
               b.generation AS next, b.made_at AS began_at, p.pieces, p.done
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
    building = None
    if row["next"] is not None:
        percent = round(100 * row["done"] / row["pieces"], 1) if row["pieces"] else 0.0
        building = Building(row["next"], row["pieces"], row["done"], percent, row["began_at"])
    names = ("generation", "made_at", "documents", "words", "version", "dataset_version")
    return IndexBody(**{name: row[name] for name in names}, building=building)


async def is_asked_for(db: Connection, message_id: object) -> bool:
    """Whether the indexer has heard that it should build."""
    return bool(await db.fetchval("SELECT EXISTS (SELECT FROM indexer.inbox WHERE id = $1)", message_id))
