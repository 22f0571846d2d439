"""SQL that brings rows into a table where some of their keys are already. Nothing is rewritten that is the same.

The rows wait in a stage, numbered by `_n` in the order of the input, no key twice. They are compared with the table
first, and only what is new or differs is written. $1 is always the ledger number of the chunk, $2 those of all chunks
of its job: of two rows of one input with the same key the later one wins, whichever chunk comes first.
"""

import hashlib

from services.ingestor.ddl import quoted
from services.ingestor.parse import column_types
from services.ingestor.write.binary_copy import CHUNK, ROW
from shared.catalog.dataset import Dataset


def stage_name(dataset: Dataset, columns: tuple[str, ...]) -> str:
    """Of the temporary table that a connection keeps for such rows."""
    return f"stage_{hashlib.sha256(repr((dataset.name, columns)).encode()).hexdigest()[:16]}"


def create_stage(dataset: Dataset, columns: tuple[str, ...]) -> str:
    """Kept by the connection and emptied by each commit: making tables for every batch would bloat the catalog."""
    source = f"SELECT 0::bigint AS {ROW}, {quoted(*columns)} FROM data.{quoted(dataset.name)}"
    name = stage_name(dataset, columns)
    return f"CREATE TEMP TABLE IF NOT EXISTS {name} ON COMMIT DELETE ROWS AS {source} WITH NO DATA"


def ranged(dataset: Dataset) -> bool:
    """Whether the first field of the key can be bounded, so that comparing costs what the chunk has, not the table."""
    return column_types.find(dataset.field(dataset.key[0]).type).ordered_as_in_postgres


def compare(dataset: Dataset, columns: tuple[str, ...]) -> str:
    """$3: whether a key that another job has written is refused; $4 and $5: least and greatest first field of the key.

    Counts `unchanged` and `duplicates` (a later chunk of the job has that key), and lists the numbers of the rows that
    are `fresh`, `changed` or `taken`. What an earlier chunk of the job has written counts as changed even if it is the
    same: a chunk between the two must see that it was beaten.
    """
    first = quoted(dataset.key[0])
    bounds = f" AND t.{first} BETWEEN $4 AND $5" if ranged(dataset) else ""
    return f"""
        WITH met AS (
            SELECT s.{ROW}, t.{CHUNK}, {_differs(dataset, columns)} AS differs,
                   t.{CHUNK} = ANY($2::bigint[]) AS ours, t.{CHUNK} > $1 AS later
            FROM {stage_name(dataset, columns)} s LEFT JOIN data.{quoted(dataset.name)} t
              ON {_same_key(dataset, "s", "t")}{bounds}
        )
        SELECT count(*) FILTER (WHERE NOT differs AND NOT ours AND NOT $3) AS unchanged,
               count(*) FILTER (WHERE ours AND later) AS duplicates,
               array_agg({ROW}) FILTER (WHERE {CHUNK} IS NULL) AS fresh,
               array_agg({ROW}) FILTER (
                   WHERE {CHUNK} <> $1 AND CASE WHEN ours THEN NOT later ELSE differs AND NOT $3 END
               ) AS changed,
               array_agg({ROW}) FILTER (WHERE $3 AND NOT ours) AS taken
        FROM met
    """


def update_changed(dataset: Dataset, columns: tuple[str, ...]) -> str:
    """$3: numbers of the rows. Returns the counts `updated` and `duplicates`; keeps what was there, if it is needed."""
    table = f"data.{quoted(dataset.name)}"
    return f"""
        WITH old AS (
            SELECT t.*, s.{ROW} FROM {stage_name(dataset, columns)} s
            JOIN unnest($3::bigint[]) AS p ({ROW}) USING ({ROW}) JOIN {table} t ON {_same_key(dataset, "s", "t")}
            WHERE NOT (t.{CHUNK} = ANY($2::bigint[]) AND t.{CHUNK} > $1)
            ORDER BY {_keys(dataset, "t")}
            FOR UPDATE OF t
        ), {_kept(dataset, "old")}, new AS (
            UPDATE {table} t SET {CHUNK} = $1{_changes(dataset, columns)}
            FROM {stage_name(dataset, columns)} s, old
            WHERE s.{ROW} = old.{ROW} AND {_same_key(dataset, "old", "t")}
            RETURNING old.{CHUNK} = ANY($2::bigint[]) AS duplicate
        )
        SELECT count(*) FILTER (WHERE NOT duplicate) AS updated, count(*) FILTER (WHERE duplicate) AS duplicates
        FROM new
    """


def insert_fresh(dataset: Dataset, columns: tuple[str, ...]) -> str:
    """$2: numbers of the rows. A key that someone else has just inserted is left out."""
    return f"""
        INSERT INTO data.{quoted(dataset.name)} ({quoted(*columns)}, {CHUNK})
        SELECT {quoted(*columns)}, $1::bigint
        FROM {stage_name(dataset, columns)} s JOIN unnest($2::bigint[]) AS p ({ROW}) USING ({ROW})
        ORDER BY {_keys(dataset, "s")}
        ON CONFLICT ({quoted(*dataset.key)}) DO NOTHING
    """


def count_met(dataset: Dataset, source: str) -> str:
    """How many rows of the table have their key in `source`."""
    table = f"data.{quoted(dataset.name)}"
    return f"SELECT count(*) FROM {table} t JOIN {source} s ON {_same_key(dataset, 's', 't')}"


def delete_missing(dataset: Dataset, source: str) -> str:
    """Rows whose key `source` lacks; of a table without a key, all. Counts them."""
    absent = "true"
    if dataset.keyed:
        absent = f"NOT EXISTS (SELECT FROM {source} s WHERE {_same_key(dataset, 's', 't')})"
    return _delete(dataset, absent)


def delete_unseen(dataset: Dataset, field: str) -> str:
    """$2: the job. Rows with an id in `field` that the job's source did not have. Counts them."""
    seen = f"SELECT FROM seen s WHERE s.job_id = $2 AND s.id = t.{quoted(field)}::text"
    return _delete(dataset, f"t.{quoted(field)} IS NOT NULL AND NOT EXISTS ({seen})")


def _delete(dataset: Dataset, which: str) -> str:
    return f"""
        WITH gone AS (DELETE FROM data.{quoted(dataset.name)} t WHERE {which} RETURNING t.*), {_kept(dataset, "gone")}
        SELECT count(*) FROM gone
    """


def keep_all(dataset: Dataset, partition: str) -> str:
    """Old images of all rows of a partition."""
    return (
        f"INSERT INTO replaced (ledger, was, dataset, row)"
        f" SELECT $1, {CHUNK}, '{dataset.name}', to_jsonb(old) FROM ONLY {partition} old"
    )


def update_all(dataset: Dataset, columns: tuple[str, ...], source: str) -> str:
    """Rows that differ from those in `source`. Counts them. The table is locked."""
    if not dataset.keyed:
        return "SELECT 0::bigint WHERE $1::bigint IS NOT NULL"
    table = f"data.{quoted(dataset.name)}"
    return f"""
        WITH old AS (
            SELECT t.* FROM {table} t JOIN {source} s ON {_same_key(dataset, "s", "t")}
            WHERE {_differs(dataset, columns)}
        ), {_kept(dataset, "old")}, new AS (
            UPDATE {table} t SET {CHUNK} = $1{_changes(dataset, columns)} FROM {source} s
            WHERE {_same_key(dataset, "s", "t")} AND {_differs(dataset, columns)} RETURNING 1
        )
        SELECT count(*) FROM new
    """


def insert_all(dataset: Dataset, columns: tuple[str, ...], source: str) -> str:
    """Rows of `source` whose key is not there. Counts them. The table is locked."""
    absent = "true"
    if dataset.keyed:
        absent = f"NOT EXISTS (SELECT FROM data.{quoted(dataset.name)} t WHERE {_same_key(dataset, 's', 't')})"
    order = f" ORDER BY {_keys(dataset, 's')}" if dataset.keyed else f" ORDER BY s.{CHUNK}, s.{ROW}"
    return f"""
        WITH new AS (
            INSERT INTO data.{quoted(dataset.name)} ({quoted(*columns)}, {CHUNK})
            SELECT {quoted(*columns)}, $1::bigint FROM {source} s WHERE {absent}{order} RETURNING 1
        )
        SELECT count(*) FROM new
    """


def _kept(dataset: Dataset, old: str) -> str:
    """A part of a WITH clause that keeps rows as they were, for those who must take them away again.

    Whether there are any is asked of what is declared now: a declaration that brings the first of them has waited for
    those who write, but who writes afterwards may have read the one before.
    """
    return (
        f"kept AS (INSERT INTO replaced (ledger, was, dataset, row)"
        f" SELECT $1, {old}.{CHUNK}, '{dataset.name}', to_jsonb({old}) - '{ROW}' FROM {old}"
        f" WHERE EXISTS (SELECT FROM datasets WHERE name = '{dataset.name}'"
        f" AND (declaration->'search' IS NOT NULL OR declaration->'rollups' IS NOT NULL)))"
    )


def _changes(dataset: Dataset, columns: tuple[str, ...]) -> str:
    return "".join(f", {quoted(name)} = s.{quoted(name)}" for name in columns if name not in dataset.key)


def _same_key(dataset: Dataset, left: str, right: str) -> str:
    return " AND ".join(f"{left}.{quoted(name)} = {right}.{quoted(name)}" for name in dataset.key)


def _keys(dataset: Dataset, table: str) -> str:
    return ", ".join(f"{table}.{quoted(name)}" for name in dataset.key)


def _differs(dataset: Dataset, columns: tuple[str, ...]) -> str:
    values = [name for name in columns if name not in dataset.key]
    if not values:
        return f"t.{CHUNK} IS NULL"
    left = ", ".join(f"t.{quoted(name)}" for name in values)
    right = ", ".join(f"s.{quoted(name)}" for name in values)
    return f"(({left}) IS DISTINCT FROM ({right}))"
