"""Retention: deletes what a service no longer needs, in small steps, on one replica at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple
from uuid import UUID

import structlog

from shared.bus.ledger import outboxes
from shared.db import Connection, Pool, transaction
from shared.db.locks import try_lock
from shared.reads.ingestor.tables import CHUNKS
from shared.settings import ServiceSettings
from shared.telemetry import metrics

EVERY_SECONDS = 60.0
STEP_ROWS = 2000
PAUSE_SECONDS = 0.05
"""After a step that deleted something, so that other transactions get their turn."""
FRUITLESS_STEPS = 10
"""Steps in a row that may find nothing to delete before the next run continues: limits the cost of a run."""
LEDGER_DAYS = 8
LOCK = 0x72657461
OLD = "now() - $1 * interval '1 day'"
"""SQL of the time before which rows are old; $1 is a number of days."""
log = structlog.get_logger()

Position = int | UUID | None


class Step(NamedTuple):
    """The result of a step: deleted rows, and where the next step continues; None at the end of the table."""

    deleted: int
    position: Position


Delete = Callable[[Connection, int, Position], Awaitable[Step]]
"""Deletes up to about STEP_ROWS rows that are older than a number of days, from a position on."""


class Retention(NamedTuple):
    """The life of the rows of a table: they are deleted by the `rule`, after the days of the `setting` if there is one.

    `table` may name a column, as `table.column`, if a step clears it and keeps the row.
    """

    table: str
    rule: str
    delete: Delete
    setting: str | None = None


def rows(table: str, condition: str) -> Delete:
    """Deletes the rows of table t that meet the SQL condition. $1 is the number of days."""
    statement = f"""
        DELETE FROM {table} WHERE ctid = ANY (ARRAY(
            SELECT t.ctid FROM {table} t WHERE {condition} LIMIT {STEP_ROWS} FOR UPDATE OF t SKIP LOCKED
        ))
    """
    return run_until_few(statement)


def rows_by_age(table: str, column: str, *, unless: str = "false") -> Delete:
    """Deletes rows by the time in a column, which has an index. Few old rows may be kept by `unless`, on table t."""
    return rows(table, f"t.{column} < {OLD} AND NOT ({unless}) ORDER BY t.{column}")


def rows_by_key(table: str, key: str, column: str, *, unless: str) -> Delete:
    """Deletes rows in the order of a bigint key, which is about that of the time in `column`.

    Many old rows may be kept by `unless`, on table t: each step looks at one page and the next one continues after it.
    """
    statement = f"""
        WITH page AS MATERIALIZED (
            SELECT ctid AS place, {key} AS key, {column} < {OLD} AS old FROM {table}
            WHERE {key} > $2 ORDER BY {key} LIMIT {STEP_ROWS}
        ), gone AS (
            DELETE FROM {table} t WHERE ctid = ANY (ARRAY(SELECT place FROM page WHERE old)) AND NOT ({unless})
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM gone) AS deleted, max(key) FILTER (WHERE old) AS last_old, count(*) AS found
        FROM page
    """

    async def delete(db: Connection, days: int, position: Position) -> Step:
        row = await db.fetchrow(statement, days, position or 0)
        is_last = row is None or row["found"] < STEP_ROWS or row["last_old"] is None
        return Step(row["deleted"] if row else 0, None if is_last or row is None else row["last_old"])

    return delete


def run_until_few(statement: str) -> Delete:
    """Runs a statement on up to STEP_ROWS rows until it changes fewer. $1 is the number of days."""

    async def delete(db: Connection, days: int, _position: Position) -> Step:
        deleted = int((await db.execute(statement, days)).split()[-1])
        return Step(deleted, 0 if deleted == STEP_ROWS else None)

    return delete


def marks() -> Delete:
    """Deletes old rows of the service's table `chunks` whose line is gone: without its mark, a chunk counts as new."""
    return rows_by_key(
        "chunks", "ledger", "done_at", unless=f"EXISTS (SELECT FROM {CHUNKS} c WHERE c.ledger = t.ledger)"
    )


def ledger(service: str) -> tuple[Retention, ...]:
    """Returns the life of the bus's own tables: no broker redelivers after LEDGER_DAYS.

    What was given up stays ended, and so does a message that is open in an outbox.
    """
    old = f"{OLD} - interval '{LEDGER_DAYS} days'"
    return (
        Retention(
            "inbox",
            "after the end of the message",
            rows(
                "inbox",
                f"t.done_at < {old} AND NOT EXISTS (SELECT FROM dead_letters d WHERE d.id = t.id AND d.state = 'dead')"
                f" AND NOT EXISTS (SELECT FROM {outboxes(service)} o"
                f" WHERE o.id = t.id AND o.receivers @> ARRAY['{service}']) ORDER BY t.done_at",
            ),
        ),
        Retention("attempts", "after the attempt", rows("attempts", f"t.began_at < {old}")),
        Retention("resent", "after the last copy", rows("resent", f"t.resent_at < {old}")),
        Retention("dead_letters", "after a redrive or a discard", rows("dead_letters", f"t.settled_at < {old}")),
    )


class RetentionTask:
    """The periodic task of a service: measures its tables and deletes old rows."""

    def __init__(self, service: str, retentions: Sequence[Retention], settings: ServiceSettings) -> None:
        self._service = service
        self._retentions = (*retentions, *ledger(service))
        self._settings = settings
        self._positions: dict[str, Position] = {}

    async def run(self, pool: Pool) -> int:
        """Deletes what is old now; writes no messages."""
        async with pool.acquire() as db:
            await measure(db, self._service)
        for retention in self._retentions:
            try:
                await self._delete(pool, retention)
            except Exception as error:  # a failing table must not block the others
                log.warning("retention delayed", table=retention.table, error=repr(error), exc_info=error)
        return 0

    async def _delete(self, pool: Pool, retention: Retention) -> None:
        days = getattr(self._settings, retention.setting) if retention.setting else 0
        total = fruitless = 0
        while fruitless < FRUITLESS_STEPS:
            async with transaction(pool) as db:
                if not await try_lock(db, LOCK, self._service):
                    break
                step = await retention.delete(db, days, self._positions.get(retention.table))
            self._positions[retention.table] = step.position
            total += step.deleted
            metrics.RETENTION_DELETED.labels(f"{self._service}.{retention.table}").inc(step.deleted)
            if step.position is None:
                break
            fruitless = 0 if step.deleted else fruitless + 1
            if step.deleted:
                await asyncio.sleep(PAUSE_SECONDS)
        if total:
            log.info("old rows deleted", table=retention.table, rows=total)


async def measure(db: Connection, service: str) -> None:
    """Sets the sizes of the service's tables. Temporary stages of replacements have no series of their own."""
    tables = await db.fetch(
        """
        SELECT relname, pg_stat_get_live_tuples(oid) AS rows, pg_total_relation_size(oid) AS bytes FROM pg_class
        WHERE relnamespace = to_regnamespace($1) AND relkind = 'r' AND relname !~ '^replacing_'
        """,
        service,
    )
    for table in tables:
        metrics.TABLE_ROWS.labels(f"{service}.{table['relname']}").set(table["rows"])
        metrics.TABLE_BYTES.labels(f"{service}.{table['relname']}").set(table["bytes"] or 0)
