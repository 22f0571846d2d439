"""SQL that brings a chunk into a table where some of its keys are already. Nothing is rewritten that is the same.

The chunk waits in the temporary table `stage`, in file order by `_n`; each step takes the rows out of it that it has
dealt with, so what is left at the end has met someone else's uncommitted row and goes round again.
"""

from services.ingestor.tables import quoted
from shared.catalog.dataset import Dataset


def create_stage(dataset: Dataset, columns: tuple[str, ...]) -> list[str]:
    """The stage, with the columns that the file brings."""
    source = f"SELECT {quoted(*columns)}, _chunk FROM data.{quoted(dataset.name)}"
    return [
        f"CREATE TEMP TABLE stage ON COMMIT DROP AS {source} WITH NO DATA",
        "ALTER TABLE stage ADD COLUMN _n bigint GENERATED ALWAYS AS IDENTITY",
    ]


def drop_repeats(dataset: Dataset) -> str:
    """Keys that occur again later in the chunk: the last one wins."""
    keys = quoted(*dataset.key)
    return (
        f"DELETE FROM stage s USING (SELECT {keys}, max(_n) AS last FROM stage GROUP BY {keys} HAVING count(*) > 1) r"
        f" WHERE {_same_key(dataset, 's', 'r')} AND s._n < r.last"
    )


def drop_unchanged(dataset: Dataset, columns: tuple[str, ...]) -> str:
    """$1: ledger numbers of the job's chunks, $2: this chunk's. Returns the counts `unchanged` and `duplicates`.

    A row that another chunk of the same file has written is a duplicate; a later chunk's stays.
    """
    return f"""
        WITH done AS (
            DELETE FROM stage s USING data.{quoted(dataset.name)} t
            WHERE {_same_key(dataset, "s", "t")}
              AND (NOT {_differs(dataset, columns)} OR (t._chunk = ANY($1::bigint[]) AND t._chunk > $2))
            RETURNING t._chunk = ANY($1::bigint[]) AS duplicate
        )
        SELECT count(*) FILTER (WHERE NOT duplicate) AS unchanged, count(*) FILTER (WHERE duplicate) AS duplicates
        FROM done
    """


def update_changed(dataset: Dataset, columns: tuple[str, ...]) -> str:
    """$1 and $2 as above, $3: the dataset. Returns the counts `updated` and `duplicates`; keeps what was there."""
    table = f"data.{quoted(dataset.name)}"
    values = [name for name in columns if name not in dataset.key]
    changes = "".join(f", {quoted(name)} = s.{quoted(name)}" for name in values)
    return f"""
        WITH old AS (
            SELECT t.* FROM {table} t JOIN stage s ON {_same_key(dataset, "s", "t")}
            WHERE {_differs(dataset, columns)} AND NOT (t._chunk = ANY($1::bigint[]) AND t._chunk > $2)
            ORDER BY {_keys(dataset, "t")}
            FOR UPDATE OF t
        ), kept AS (
            INSERT INTO replaced (ledger, was, dataset, row) SELECT $2, old._chunk, $3, to_jsonb(old) FROM old
        ), new AS (
            UPDATE {table} t SET _chunk = $2{changes}
            FROM stage s, old
            WHERE {_same_key(dataset, "s", "t")} AND {_same_key(dataset, "old", "t")}
            RETURNING s._n, old._chunk = ANY($1::bigint[]) AS duplicate
        ), done AS (
            DELETE FROM stage s USING new WHERE s._n = new._n RETURNING new.duplicate
        )
        SELECT count(*) FILTER (WHERE NOT duplicate) AS updated, count(*) FILTER (WHERE duplicate) AS duplicates
        FROM done
    """


def insert_new(dataset: Dataset, columns: tuple[str, ...]) -> str:
    """Returns the count of inserted rows; a key that someone else has just inserted stays in the stage."""
    return f"""
        WITH new AS (
            INSERT INTO data.{quoted(dataset.name)} ({quoted(*columns)}, _chunk)
            SELECT {quoted(*columns)}, _chunk FROM stage ORDER BY {quoted(*dataset.key)}
            ON CONFLICT ({quoted(*dataset.key)}) DO NOTHING
            RETURNING {quoted(*dataset.key)}
        ), done AS (
            DELETE FROM stage s USING new WHERE {_same_key(dataset, "s", "new")} RETURNING 1
        )
        SELECT count(*) FROM done
    """


def _same_key(dataset: Dataset, left: str, right: str) -> str:
    return " AND ".join(f"{left}.{quoted(name)} = {right}.{quoted(name)}" for name in dataset.key)


def _keys(dataset: Dataset, table: str) -> str:
    return ", ".join(f"{table}.{quoted(name)}" for name in dataset.key)


def _differs(dataset: Dataset, columns: tuple[str, ...]) -> str:
    values = [name for name in columns if name not in dataset.key]
    if not values:
        return "false"
    left = ", ".join(f"t.{quoted(name)}" for name in values)
    right = ", ".join(f"s.{quoted(name)}" for name in values)
    return f"(({left}) IS DISTINCT FROM ({right}))"
