"""What the indexer remembers: a document for each row of a searchable dataset, and which chunks have theirs."""

from shared.catalog import kinds
from shared.catalog.dataset import ROW_KEY, Dataset, Search
from shared.contracts.events import ChunkLoaded
from shared.db import Connection

INDEX_SECONDS = 600.0
MAKING = 0x646F6373
DELETING = 0x676F6E65


async def create_documents(db: Connection, dataset: Dataset) -> None:
    """The documents' table: the key of the row, the version of the dataset that the document shows, its words."""
    standing = "SELECT to_regclass($1) IS NOT NULL"
    table = f'documents."{dataset.name}"'
    if await db.fetchval(standing, table):
        return
    await db.execute("SELECT pg_advisory_xact_lock($1)", MAKING)
    if await db.fetchval(standing, table):
        return
    types = {field.name: kinds.sql(field.type) for field in dataset.fields} | {ROW_KEY: "bigint"}
    keys = ", ".join(f'"{name}"' for name in dataset.key)
    columns = ", ".join(f'"{name}" {types[name]} NOT NULL' for name in dataset.key)
    await db.execute(
        f"CREATE TABLE {table} ({columns}, _version bigint NOT NULL, _words tsvector NOT NULL, PRIMARY KEY ({keys}))"
    )
    await db.execute(f"CREATE INDEX ON {table} USING gin (_words)")


async def insert_documents(db: Connection, dataset: Dataset, search: Search, event: ChunkLoaded) -> int:
    """Documents of the rows that the chunk wrote and nobody has rewritten since. A newer document is left alone."""
    # Shared with others that insert, not with one that deletes: it must see all documents of rows that are gone.
    await db.execute("SELECT pg_advisory_xact_lock_shared($1, hashtext($2))", DELETING, dataset.name)
    keys = ", ".join(f'"{name}"' for name in dataset.key)
    text = " || ' ' || ".join(f"coalesce(\"{name}\", '')" for name in search.fields)
    status = await db.execute(
        f"""
        INSERT INTO documents."{dataset.name}" AS d ({keys}, _version, _words)
        SELECT {keys}, $1, to_tsvector($2::text::regconfig, {text}) FROM data."{dataset.name}"
        WHERE _chunk = $3 ORDER BY {keys}
        ON CONFLICT ({keys}) DO UPDATE SET _version = excluded._version, _words = excluded._words
        WHERE d._version < excluded._version
        """,
        event.version,
        search.language,
        event.ledger,
        timeout=INDEX_SECONDS,
    )
    return int(status.split()[-1])


async def delete_documents(db: Connection, dataset: Dataset, ledger: int) -> int:
    """Documents of rows that the chunk deleted and that nobody has brought back since."""
    await db.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", DELETING, dataset.name)
    table = f'data."{dataset.name}"'
    same = {name: " AND ".join(f'{name}."{key}" = d."{key}"' for key in dataset.key) for name in ("old", "t")}
    status = await db.execute(
        f"""
        DELETE FROM documents."{dataset.name}" d
        USING ingestor.replaced r, jsonb_populate_record(NULL::{table}, r.row) old
        WHERE r.ledger = $1 AND {same["old"]} AND NOT EXISTS (SELECT FROM {table} t WHERE {same["t"]})
        """,
        ledger,
        timeout=INDEX_SECONDS,
    )
    return int(status.split()[-1])


async def insert_indexed(db: Connection, ledger: int, documents: int) -> None:
    """Closes the chunk."""
    await db.execute("INSERT INTO chunks (ledger, documents) VALUES ($1, $2) ON CONFLICT DO NOTHING", ledger, documents)
