"""PlanDetach and DetachPartition: a year leaves its dataset, and its table moves to schema `detached`."""

import asyncio
import time

from services.ingestor import chunk_ledger, ddl, new_chunks
from services.ingestor.ddl import quote
from services.ingestor.write import partitions, queries, upsert_sql
from shared.bus.failures import NotReady, PermanentFailure, TransientFailure
from shared.catalog.dataset import Dataset
from shared.contracts.commands import DetachPartition, PlanDetach
from shared.contracts.events import ChunkLoaded, ImportPlanned
from shared.contracts.parts import Dialect, Outcome, Problem
from shared.db import Connection
from shared.db.faults import LOCK_TIMEOUT
from shared.telemetry import metrics

BEFORE_IMAGE_SECONDS = 1800.0
LONGEST_WAIT_SECONDS = 20.0
LOCK_MILLISECONDS = 200
"""Short, because all readers and writers of the table queue behind a session that waits for this lock."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


async def plan_detach(command: PlanDetach, db: Connection) -> list[DetachPartition | ImportPlanned]:
    """Enters the detachment in the ledger as its only chunk, so that recovery can find it."""
    detach = DetachPartition(dataset=command.dataset, job_id=command.job_id, chunk=1, year=command.year)
    await new_chunks.insert_plan(db, command, Dialect(columns=(), header=False), [detach], bytes_total=0)
    return [detach, ImportPlanned(dataset=command.dataset, job_id=command.job_id, chunks=1, bytes=0)]


async def detach_partition(command: DetachPartition, db: Connection) -> ChunkLoaded:
    """Copies before-images while others read and load other years, and locks the whole table only at the end.

    Raises PermanentFailure, NotReady, and TransientFailure if the table was never free.
    """
    chunk = await chunk_ledger.select_chunk(db, command.job_id, command.chunk)
    dataset = chunk.dataset
    partition = f"data.{quote(ddl.partition_name(dataset, command.year))}"
    await partitions.lock_year(db, dataset, command.year)
    await _check_year(db, dataset, command.year)
    # Autovacuum yields to this lock, but not to the short attempts at the end.
    await db.execute(f"LOCK TABLE ONLY {partition} IN SHARE UPDATE EXCLUSIVE MODE", timeout=queries.COPY_SECONDS)
    copied = await _tracks_changes(db, dataset.name)
    deleted = (
        await _insert_before_images(db, dataset, partition, chunk.ledger) if copied else await _count(db, partition)
    )
    await _lock_exclusively(db, dataset, partition)
    if not copied and await _tracks_changes(db, dataset.name):
        raise NotReady  # a first index or rollup was declared in the meantime, and contains the rows
    for statement in ddl.detach_partition(dataset, command.year):
        await db.execute(statement)
    event = await chunk_ledger.close_chunk(db, chunk, Outcome(deleted=deleted))
    metrics.ROWS.labels(dataset.name, "deleted").inc(deleted)
    return event


async def _check_year(db: Connection, dataset: Dataset, year: int) -> None:
    """Raises PermanentFailure if the year can't be detached. The gateway has checked the same, but earlier."""
    years = await partitions.select_years(db, dataset)
    if year not in years:
        known = f"There are: {', '.join(map(str, years))}." if years else "It has no years."
        raise PermanentFailure(Problem(code="no_such_year", detail=f"{dataset.name} has no year {year}.", hint=known))
    if (other := await partitions.select_conflict(db, dataset, year)) is not None:
        detail = f"{other} has the name of the table of {year}, or of one of its indexes: it was detached before."
        hint = f"Drop it, or move it to another schema: CREATE SCHEMA archive; ALTER TABLE {other} SET SCHEMA archive;"
        raise PermanentFailure(Problem(code="detached_already", detail=detail, hint=hint))


async def _tracks_changes(db: Connection, name: str) -> bool:
    found = await queries.select_dataset(db, name)
    return found is not None and found[0].tracks_changes


async def _insert_before_images(db: Connection, dataset: Dataset, partition: str, ledger: int) -> int:
    """Keeps all rows as before-images for the indexer and analytics, which remove them. Returns their number."""
    status = await db.execute(upsert_sql.insert_before_images(dataset, partition), ledger, timeout=BEFORE_IMAGE_SECONDS)
    return int(status.split()[-1])


async def _count(db: Connection, partition: str) -> int:
    count: int = await db.fetchval(f"SELECT count(*) FROM ONLY {partition}", timeout=BEFORE_IMAGE_SECONDS)
    return count


async def _lock_exclusively(db: Connection, dataset: Dataset, partition: str) -> None:
    """Tries repeatedly for a short time, so that others hardly queue behind this lock. Raises TransientFailure."""
    until = time.monotonic() + LONGEST_WAIT_SECONDS
    pause = FIRST_PAUSE
    while True:
        try:
            async with db.transaction():
                await db.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
                await db.execute(
                    f"LOCK TABLE ONLY data.{quote(dataset.name)}, ONLY {partition} IN ACCESS EXCLUSIVE MODE"
                )
                await db.execute("SET LOCAL lock_timeout TO DEFAULT")
                return
        except LOCK_TIMEOUT as error:
            if time.monotonic() > until:
                detail = f"{dataset.name} was read or loaded all the time, so the year was never free. Nothing changed."
                hint = "Try again when fewer clients read it: a long download holds it until it ends."
                raise TransientFailure(None, Problem(code="table_busy", detail=detail, hint=hint)) from error
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
