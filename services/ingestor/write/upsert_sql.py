"""SQL of upserts: compares staged rows with the table, and writes only those that are new or differ.

A stage holds rows numbered by `_n`, each with the ledger number of its chunk, and each key once in a run. $1 of the
upserts has the ledger numbers of all chunks of the job, and is empty for the only chunks of their jobs: of two rows of
one input with the same key the later one wins, in whatever order the chunks are loaded. $1 of the other statements is
the ledger number of the chunk.
"""

import hashlib

from services.ingestor.ddl import quote
from services.ingestor.parse import column_types
from services.ingestor.write.binary_copy import CHUNK, ROW
from shared.catalog.dataset import Dataset

BY = "_by"
"""The ledger number of the chunk that changes a row."""


def stage_name(dataset: Dataset, columns: tuple[str, ...]) -> str:
    """Returns the name of the connection's temporary table for these columns."""
    return f"stage_{hashlib.sha256(repr((dataset.name, columns)).encode()).hexdigest()[:16]}"


def create_stage(dataset: Dataset, columns: tuple[str, ...]) -> str:
    """Creates the stage once for each connection; commits empty it. A table for each batch would bloat the catalog."""
    source = f"SELECT 0::bigint AS {ROW}, 0::bigint AS {CHUNK}, {quote(*columns)} FROM data.{quote(dataset.name)}"
    name = stage_name(dataset, columns)
    return f"CREATE TEMP TABLE IF NOT EXISTS {name} ON COMMIT DELETE ROWS AS {source} WITH NO DATA"


def lock_table(dataset: Dataset) -> str:
    """Keeps swaps out until the transaction ends, so that rows compared with the table stay in it."""
    return f"LOCK TABLE ONLY data.{quote(dataset.name)} IN ROW EXCLUSIVE MODE"


def lock_rows(dataset: Dataset, columns: tuple[str, ...]) -> str:
    """Locks the rows of the table whose key is staged, in the order of the key."""
    return f"""
        SELECT count(*) FROM (
            SELECT FROM {stage_name(dataset, columns)} s JOIN data.{quote(dataset.name)} t
                ON {_same_key(dataset, "s", "t")}
            ORDER BY {_keys(dataset, "t")} FOR UPDATE OF t
        ) locked
    """


def has_ordered_key(dataset: Dataset) -> bool:
    """Returns whether the key's first field has bounds, so that a comparison reads a range and not the whole table."""
    return column_types.find(dataset.field(dataset.key[0]).type).ordered_as_in_postgres


def compare(dataset: Dataset, columns: tuple[str, ...], *, in_runs: bool, alone: bool) -> str:
    """$2: whether keys of other jobs are refused; $3 and $4: least and greatest value of the key's first field.

    With `in_runs`, the last two parameters are the least and the greatest number of the rows to compare.

    For each chunk, counts `unchanged` and `duplicates` (a later chunk of the job has that key), and lists the numbers
    of the rows that are `fresh`, `changed` or `taken`. An equal row of an earlier chunk of the job counts as changed,
    so that a chunk between the two sees that its row is superseded. A chunk that is `alone` needs no grouping, which
    would sort its rows.
    """
    first = quote(dataset.key[0])
    parameter = 3
    bounds = run = ""
    if has_ordered_key(dataset):
        bounds = f" AND t.{first} BETWEEN $3 AND $4"
        parameter = 5
    if in_runs:
        run = f"WHERE s.{ROW} BETWEEN ${parameter} AND ${parameter + 1}"
    return f"""
        WITH met AS (
            SELECT s.{ROW}, s.{CHUNK}, t.{CHUNK} AS was, {_differs(dataset, columns)} AS differs,
                   t.{CHUNK} = s.{CHUNK} OR t.{CHUNK} = ANY($1::bigint[]) AS ours, t.{CHUNK} > s.{CHUNK} AS later
            FROM {stage_name(dataset, columns)} s LEFT JOIN data.{quote(dataset.name)} t
              ON {_same_key(dataset, "s", "t")}{bounds}
            {run}
        )
        SELECT {f"min({CHUNK})" if alone else CHUNK} AS ledger,
               count(*) FILTER (WHERE NOT differs AND NOT ours AND NOT $2) AS unchanged,
               count(*) FILTER (WHERE ours AND later) AS duplicates,
               coalesce(array_agg({ROW}) FILTER (WHERE was IS NULL), '{{}}') AS fresh,
               coalesce(array_agg({ROW}) FILTER (
                   WHERE was <> {CHUNK} AND CASE WHEN ours THEN NOT later ELSE differs AND NOT $2 END
               ), '{{}}') AS changed,
               coalesce(array_agg({ROW}) FILTER (WHERE $2 AND NOT ours), '{{}}') AS taken
        FROM met {"" if alone else f"GROUP BY {CHUNK}"}
    """


def update_changed(dataset: Dataset, columns: tuple[str, ...]) -> str:
    """$2: numbers of the rows. Returns for each chunk `updated` and `duplicates`; keeps before-images if needed."""
    table = f"data.{quote(dataset.name)}"
    return f"""
        WITH old AS (
            SELECT t.*, s.{ROW}, s.{CHUNK} AS {BY} FROM {stage_name(dataset, columns)} s
            JOIN unnest($2::bigint[]) AS p ({ROW}) USING ({ROW}) JOIN {table} t ON {_same_key(dataset, "s", "t")}
            WHERE NOT (t.{CHUNK} = ANY($1::bigint[]) AND t.{CHUNK} > s.{CHUNK})
            ORDER BY {_keys(dataset, "t")}
            FOR UPDATE OF t
        ), {_before_images(dataset, "old", f"old.{BY}")}, new AS (
            UPDATE {table} t SET {CHUNK} = old.{BY}{_assignments(dataset, columns)}
            FROM {stage_name(dataset, columns)} s, old
            WHERE s.{ROW} = old.{ROW} AND {_same_key(dataset, "old", "t")}
            RETURNING old.{BY}, old.{CHUNK} = ANY($1::bigint[]) AS duplicate
        )
        SELECT {BY} AS ledger, count(*) FILTER (WHERE NOT duplicate) AS updated,
               count(*) FILTER (WHERE duplicate) AS duplicates
        FROM new GROUP BY {BY}
    """


def insert_fresh(dataset: Dataset, columns: tuple[str, ...]) -> str:
    """$1: numbers of the rows. Skips a key that another transaction has just inserted; counts `inserted` by chunk."""
    return f"""
        WITH new AS (
            INSERT INTO data.{quote(dataset.name)} ({quote(*columns)}, {CHUNK})
            SELECT {quote(*columns)}, s.{CHUNK}
            FROM {stage_name(dataset, columns)} s JOIN unnest($1::bigint[]) AS p ({ROW}) USING ({ROW})
            ORDER BY {_keys(dataset, "s")}
            ON CONFLICT ({quote(*dataset.key)}) DO NOTHING RETURNING {CHUNK}
        )
        SELECT {CHUNK} AS ledger, count(*) AS inserted FROM new GROUP BY {CHUNK}
    """


def count_common(dataset: Dataset, source: str) -> str:
    """Counts the rows of the table whose key is in `source`."""
    table = f"data.{quote(dataset.name)}"
    return f"SELECT count(*) FROM {table} t JOIN {source} s ON {_same_key(dataset, 's', 't')}"


def delete_missing(dataset: Dataset, source: str) -> str:
    """Deletes and counts the rows whose key is not in `source`; all rows of a table without a key."""
    absent = "true"
    if dataset.keyed:
        absent = f"NOT EXISTS (SELECT FROM {source} s WHERE {_same_key(dataset, 's', 't')})"
    return _delete(dataset, absent)


def delete_unseen(dataset: Dataset, field: str) -> str:
    """$2: the job. Deletes and counts the rows whose id in `field` the job's source did not return."""
    seen = f"SELECT FROM seen s WHERE s.job_id = $2 AND s.id = t.{quote(field)}::text"
    return _delete(dataset, f"t.{quote(field)} IS NOT NULL AND NOT EXISTS ({seen})")


def _delete(dataset: Dataset, condition: str) -> str:
    return f"""
        WITH gone AS (
            DELETE FROM data.{quote(dataset.name)} t WHERE {condition} RETURNING t.*
        ), {_before_images(dataset, "gone")}
        SELECT count(*) FROM gone
    """


def insert_before_images(dataset: Dataset, partition: str) -> str:
    """Keeps all rows of a partition as before-images."""
    return (
        f"INSERT INTO replaced (ledger, was, dataset, row)"
        f" SELECT $1, {CHUNK}, '{dataset.name}', to_jsonb(old) FROM ONLY {partition} old"
    )


def update_all(dataset: Dataset, columns: tuple[str, ...], source: str) -> str:
    """Updates and counts the rows that differ from `source`. The table is locked."""
    if not dataset.keyed:
        return "SELECT 0::bigint WHERE $1::bigint IS NOT NULL"
    table = f"data.{quote(dataset.name)}"
    return f"""
        WITH old AS (
            SELECT t.* FROM {table} t JOIN {source} s ON {_same_key(dataset, "s", "t")}
            WHERE {_differs(dataset, columns)}
        ), {_before_images(dataset, "old")}, new AS (
            UPDATE {table} t SET {CHUNK} = $1{_assignments(dataset, columns)} FROM {source} s
            WHERE {_same_key(dataset, "s", "t")} AND {_differs(dataset, columns)} RETURNING 1
        )
        SELECT count(*) FROM new
    """


def insert_all(dataset: Dataset, columns: tuple[str, ...], source: str) -> str:
    """Inserts and counts the rows of `source` whose key is missing. The table is locked."""
    absent = "true"
    if dataset.keyed:
        absent = f"NOT EXISTS (SELECT FROM data.{quote(dataset.name)} t WHERE {_same_key(dataset, 's', 't')})"
    order = f" ORDER BY {_keys(dataset, 's')}" if dataset.keyed else f" ORDER BY s.{CHUNK}, s.{ROW}"
    return f"""
        WITH new AS (
            INSERT INTO data.{quote(dataset.name)} ({quote(*columns)}, {CHUNK})
            SELECT {quote(*columns)}, $1::bigint FROM {source} s WHERE {absent}{order} RETURNING 1
        )
        SELECT count(*) FROM new
    """


def _before_images(dataset: Dataset, old: str, ledger: str = "$1") -> str:
    """Part of a WITH clause that keeps rows as they were, for the indexer and analytics, which remove them.

    Checks the current declaration, because the transaction may have read an earlier one without search and rollups.
    """
    return (
        f"kept AS (INSERT INTO replaced (ledger, was, dataset, row)"
        f" SELECT {ledger}, {old}.{CHUNK}, '{dataset.name}', to_jsonb({old}) - ARRAY['{ROW}', '{BY}'] FROM {old}"
        f" WHERE EXISTS (SELECT FROM datasets WHERE name = '{dataset.name}'"
        f" AND (declaration->'search' IS NOT NULL OR declaration->'rollups' IS NOT NULL)))"
    )


def _assignments(dataset: Dataset, columns: tuple[str, ...]) -> str:
    return "".join(f", {quote(name)} = s.{quote(name)}" for name in columns if name not in dataset.key)


def _same_key(dataset: Dataset, left: str, right: str) -> str:
    return " AND ".join(f"{left}.{quote(name)} = {right}.{quote(name)}" for name in dataset.key)


def _keys(dataset: Dataset, table: str) -> str:
    return ", ".join(f"{table}.{quote(name)}" for name in dataset.key)


def _differs(dataset: Dataset, columns: tuple[str, ...]) -> str:
    values = [name for name in columns if name not in dataset.key]
    if not values:
        return f"t.{CHUNK} IS NULL"
    left = ", ".join(f"t.{quote(name)}" for name in values)
    right = ", ".join(f"s.{quote(name)}" for name in values)
    return f"(({left}) IS DISTINCT FROM ({right}))"
