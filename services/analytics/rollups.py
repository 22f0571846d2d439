"""The table of a rollup, and what one chunk adds to it, as SQL. Pure."""

from shared.catalog import kinds
from shared.catalog.dataset import Dataset
from shared.catalog.rollup import ROWS, Group, Rollup

PARTS = {
    "year": "extract(year FROM {})::int",
    "quarter": "extract(quarter FROM {})::int",
    "month": "date_trunc('month', {})::date",
    "date": "({})::date",
}
"""Of a datetime in UTC, which every connection of ours is set to."""


def create(dataset: Dataset, rollup: Rollup) -> str:
    """A row for each group; groups whose key is null are groups like any other."""
    groups = [f'"{group.column}" {_type(dataset, group)}' for group in rollup.groups]
    sums = [
        f'"{measure.column}" numeric NOT NULL' if measure.field else f'"{measure.column}" bigint NOT NULL'
        for measure in rollup.sums
    ]
    return (
        f'CREATE TABLE IF NOT EXISTS rollups."{rollup.table(dataset.name)}" '
        f"({', '.join([*groups, *sums])}, {ROWS} bigint NOT NULL, UNIQUE NULLS NOT DISTINCT ({_keys(rollup)}))"
    )


def add_chunk(dataset: Dataset, rollup: Rollup) -> str:
    """$1: the chunk's ledger number. Counts the groups that changed.

    What the chunk wrote is what still stands of it plus what others replaced since; what it took away are the rows it
    replaced. All of it is read in one snapshot, and sums don't mind their order, so chunks may come in any.
    """
    table = f'rollups."{rollup.table(dataset.name)}"'
    rows = f'data."{dataset.name}"'
    old = f"ingestor.replaced r, jsonb_populate_record(NULL::{rows}, r.row) x WHERE r.dataset = '{dataset.name}' AND"
    columns = [measure.column for measure in rollup.sums] + [ROWS]
    names = ", ".join(f'"{column}"' for column in columns)
    return f"""
        WITH delta AS (
            {_select(rollup, "x", 1)} FROM {rows} x WHERE x._chunk = $1 GROUP BY {_numbers(rollup)}
            UNION ALL
            {_select(rollup, "x", 1)} FROM {old} r.was = $1 GROUP BY {_numbers(rollup)}
            UNION ALL
            {_select(rollup, "x", -1)} FROM {old} r.ledger = $1 GROUP BY {_numbers(rollup)}
        ), summed AS (
            SELECT {_keys(rollup)}, {", ".join(f'sum("{column}") AS "{column}"' for column in columns)}
            FROM delta GROUP BY {_keys(rollup)}
            HAVING {" OR ".join(f'sum("{column}") <> 0' for column in columns)}
        ), added AS (
            INSERT INTO {table} AS t ({_keys(rollup)}, {names})
            SELECT {_keys(rollup)}, {names} FROM summed ORDER BY {_keys(rollup)}
            ON CONFLICT ({_keys(rollup)}) DO UPDATE
            SET {", ".join(f'"{column}" = t."{column}" + excluded."{column}"' for column in columns)}
            RETURNING 1
        )
        SELECT count(*) FROM added
    """


def delete_empty(dataset: Dataset, rollup: Rollup) -> str:
    """Groups that nothing is left of. While chunks overtake each other a group may have no rows but a sum: it stays."""
    columns = [measure.column for measure in rollup.sums] + [ROWS]
    return f'DELETE FROM rollups."{rollup.table(dataset.name)}" WHERE ' + " AND ".join(f'"{c}" = 0' for c in columns)


def _select(rollup: Rollup, row: str, sign: int) -> str:
    groups = [
        f'{PARTS[group.part].format(f"""{row}."{group.field}" """)} AS "{group.column}"'
        if group.part
        else f'{row}."{group.field}" AS "{group.column}"'
        for group in rollup.groups
    ]
    sums = [
        f'{sign} * coalesce(sum({row}."{measure.field}"::numeric), 0) AS "{measure.column}"'
        if measure.field
        else f'{sign} * count(*) AS "{measure.column}"'
        for measure in rollup.sums
    ]
    return f"SELECT {', '.join([*groups, *sums])}, {sign} * count(*) AS {ROWS}"


def _keys(rollup: Rollup) -> str:
    return ", ".join(f'"{group.column}"' for group in rollup.groups)


def _numbers(rollup: Rollup) -> str:
    return ", ".join(str(number) for number in range(1, len(rollup.groups) + 1))


def _type(dataset: Dataset, group: Group) -> str:
    if group.part in ("year", "quarter"):
        return "integer"
    return "date" if group.part else kinds.sql(dataset.field(group.field).type)
