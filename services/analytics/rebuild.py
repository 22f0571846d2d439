"""Rebuilds a rollup: compares its tables with a fresh build from all rows and repairs the differences."""

from collections.abc import Sequence
from typing import NamedTuple

import structlog

from services.analytics import build, group_keys, plans, queries
from services.analytics.build import BUILD_SECONDS
from services.analytics.declare import prepare
from services.analytics.rollup_tables import RollupTables, drop, quoted
from shared.bus.failures import PermanentFailure
from shared.contracts.commands import RebuildRollup
from shared.contracts.events import RollupRebuilt
from shared.contracts.parts import Problem
from shared.db import Connection
from shared.reads.ingestor.chunks import update_freshness
from shared.reads.ingestor.datasets import select_dataset
from shared.telemetry import metrics

log = structlog.get_logger()


class Rebuilt(NamedTuple):
    """The groups of a rollup, how many of them were wrong, and the version of the dataset that it contains."""

    groups: int
    mended: int
    version: int


async def rebuild_rollup(command: RebuildRollup, db: Connection) -> RollupRebuilt:
    """Rebuilds the rollup; readers don't wait. Raises PermanentFailure if it is not declared."""
    await queries.lock_builds(db, command.dataset)
    await prepare(db, command.dataset)
    dataset = await select_dataset(db, command.dataset)
    rollups = await queries.select_rollups(db, dataset)
    by_name = {tables.rollup.name: tables for tables in rollups}
    if command.rollup not in by_name:
        detail = f"Dataset {command.dataset} declares no rollup {command.rollup!r}."
        raise PermanentFailure(Problem(code="unknown_rollup", detail=detail))
    rebuilt = await _rebuild(db, by_name[command.rollup], rollups)
    metrics.MENDED.labels(command.dataset).inc(rebuilt.mended)
    log.info("rollup rebuilt", rollup=command.rollup, **rebuilt._asdict())
    return RollupRebuilt(dataset=command.dataset, job_id=command.job_id, rollup=command.rollup, **rebuilt._asdict())


async def _rebuild(db: Connection, tables: RollupTables, rollups: Sequence[RollupTables]) -> Rebuilt:
    draft = tables._replace(draft=0)
    (snapshot,) = await build.build_drafts(db, tables.dataset.name, [draft], rollups)
    await plans.use(db, plans.SCAN_ALL)
    for statement in (
        create_pairs(tables, draft),
        *(mark_wrong_values(tables, draft, field) for field in tables.rollup.value_fields),
    ):
        await db.execute(statement, timeout=BUILD_SECONDS)
    row = await db.fetchrow("SELECT count(new) AS groups, count(*) FILTER (WHERE wrong) AS mended FROM pairs")
    for statement in repair(tables, draft):
        await db.execute(statement, timeout=BUILD_SECONDS)
    await db.execute(f"{drop(draft)}; DROP TABLE pairs")
    await queries.upsert_rollup(db, tables, snapshot)  # its new time of build invalidates cached reports
    version = await update_freshness(db, tables.dataset.name, "counted")
    return Rebuilt(row["groups"], row["mended"], version) if row else Rebuilt(0, 0, version)


def create_pairs(tables: RollupTables, draft: RollupTables) -> str:
    """Pairs each group (`old`: its id, or its future one) with that of the draft (`new`), and marks the wrong ones."""
    columns = [*(column.name for column in tables.sums), *tables.derived]
    differs = " OR ".join(f't."{column}" IS DISTINCT FROM d."{column}"' for column in columns)
    return f"""
        CREATE TEMP TABLE pairs ON COMMIT DROP AS
        SELECT coalesce(t._group, nextval(pg_get_serial_sequence('{tables.groups}', '_group'))) AS old, d._group AS new,
               t._group IS NULL AS missing, t._group IS NULL OR d._group IS NULL OR {differs} AS wrong
        FROM {tables.groups} t FULL JOIN {draft.groups} d ON {group_keys.same(tables.dataset, tables.rollup, "t", "d")}
    """


def mark_wrong_values(tables: RollupTables, draft: RollupTables, field: str) -> str:
    """Marks groups whose values differ from the draft."""
    return f"""
        UPDATE pairs SET wrong = true WHERE old IN (
            SELECT coalesce(t._group, d.old) FROM {tables.values(field)} t FULL JOIN (
                SELECT p.old, v.value, v.rows FROM {draft.values(field)} v JOIN pairs p ON p.new = v._group
            ) d ON t._group = d.old AND t.value = d.value
            WHERE t.rows IS DISTINCT FROM d.rows
        )
    """


def repair(tables: RollupTables, draft: RollupTables) -> list[str]:
    """Returns the statements that make the tables equal to the draft."""
    columns = [*(column.name for column in tables.sums), *tables.derived]
    put = ", ".join(f'"{column}" = d."{column}"' for column in columns)
    names = f"{group_keys.names(tables.rollup)}, {quoted(*columns)}"
    drafted = ", ".join([group_keys.names(tables.rollup, "d"), *(f'd."{column}"' for column in columns)])
    statements = [
        f"DELETE FROM {tables.groups} t USING pairs p WHERE t._group = p.old AND p.new IS NULL",
        f"""
        UPDATE {tables.groups} t SET {put} FROM pairs p JOIN {draft.groups} d ON d._group = p.new
        WHERE t._group = p.old AND p.wrong
        """,
        f"""
        INSERT INTO {tables.groups} (_group, {names})
        SELECT p.old, {drafted} FROM pairs p JOIN {draft.groups} d ON d._group = p.new WHERE p.missing
        """,
    ]
    for field in tables.rollup.value_fields:
        values, right = tables.values(field), draft.values(field)
        statements += [
            f"""
            DELETE FROM {values} t WHERE NOT EXISTS (
                SELECT FROM pairs JOIN {right} d ON d._group = new WHERE old = t._group AND d.value = t.value
            )
            """,
            f"""
            INSERT INTO {values} AS t (_group, value, rows, added)
            SELECT old, value, rows, 0 FROM {right} d JOIN pairs ON new = d._group
            ON CONFLICT (_group, value) DO UPDATE SET rows = excluded.rows WHERE t.rows <> excluded.rows
            """,
        ]
    return statements
