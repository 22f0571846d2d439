"""A year leaves its dataset: its rows are kept as old images, as deleted ones are, and its table moves, as it is."""

import asyncio
import time

from services.ingestor import chunk_ledger, ddl
from services.ingestor.ddl import quoted
from services.ingestor.write import partitions, queries, upsert_sql
from shared.bus.failures import NotReady, PermanentFailure, TransientFailure
from shared.catalog.dataset import Dataset
from shared.contracts.commands import DetachPartition, PlanDetach
from shared.contracts.events import ChunkLoaded, ImportPlanned
from shared.contracts.parts import Dialect, Outcome, Problem
from shared.db import Connection
from shared.db.faults import LOCK_TIMEOUT
from shared.telemetry import metrics

KEEP_SECONDS = 1800.0
PATIENCE_SECONDS = 20.0
LOCK_MILLISECONDS = 200
"""Behind one who waits to change a table, all wait who read or load it."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


async def plan_detach(command: PlanDetach, db: Connection) -> list[DetachPartition | ImportPlanned]:
    """A line of the ledger, so that it can be seen that the work is under way."""
    detach = DetachPartition(dataset=command.dataset, job_id=command.job_id, chunk=1, year=command.year)
    await chunk_ledger.insert_plan(db, command, Dialect(columns=(), header=False), [detach], bytes_total=0)
    return [detach, ImportPlanned(dataset=command.dataset, job_id=command.job_id, chunks=1, bytes=0)]


async def detach_partition(command: DetachPartition, db: Connection) -> ChunkLoaded:
    """What takes long is done while others read and load other years; nobody waits but for the last moment.

    Raises PermanentFailure, NotReady, and TransientFailure while the table is never free.
    """
    chunk = await chunk_ledger.select_chunk(db, command.job_id, command.chunk)
    dataset = chunk.dataset
    partition = f"data.{quoted(ddl.partition_name(dataset, command.year))}"
    await partitions.lock_year(db, dataset, command.year)
    await _refuse(db, dataset, command.year)
    # Postgres' own cleaning gives way to this, but not to one who waits as shortly as we do at the end.
    await db.execute(f"LOCK TABLE ONLY {partition} IN SHARE UPDATE EXCLUSIVE MODE", timeout=queries.COPY_SECONDS)
    kept = await _has_readers(db, dataset.name)
    deleted = await _keep(db, dataset, partition, chunk.ledger) if kept else await _count(db, partition)
    await _lock_alone(db, dataset, partition)
    if not kept and await _has_readers(db, dataset.name):
        raise NotReady  # the first of them was declared meanwhile, and knows the rows
    for statement in ddl.detach_partition(dataset, command.year):
        await db.execute(statement)
    outcome = Outcome(deleted=deleted)
    version = await chunk_ledger.update_loaded(db, chunk, outcome)
    metrics.ROWS.labels(dataset.name, "deleted").inc(deleted)
    return ChunkLoaded(
        dataset=dataset.name,
        job_id=command.job_id,
        chunk=command.chunk,
        ledger=chunk.ledger,
        version=version,
        bytes=0,
        outcome=outcome,
    )


async def _refuse(db: Connection, dataset: Dataset, year: int) -> None:
    """Raises PermanentFailure. The gateway has looked as well, but some time ago."""
    years = await partitions.select_years(db, dataset)
    if year not in years:
        known = f"There are: {', '.join(map(str, years))}." if years else "It has no years."
        raise PermanentFailure(Problem(code="no_such_year", detail=f"{dataset.name} has no year {year}.", hint=known))
    if (other := await partitions.select_in_the_way(db, dataset, year)) is not None:
        detail = f"{other} has the names that the table of {year} would have: it was detached before."
        hint = f"Drop it, or move it elsewhere: CREATE SCHEMA archive; ALTER TABLE {other} SET SCHEMA archive;"
        raise PermanentFailure(Problem(code="detached_already", detail=detail, hint=hint))


async def _has_readers(db: Connection, name: str) -> bool:
    found = await queries.select_dataset(db, name)
    return found is not None and found[0].tracks_changes


async def _keep(db: Connection, dataset: Dataset, partition: str, ledger: int) -> int:
    """Old images of all rows, for those who must take them away again. Returns how many rows there are."""
    status = await db.execute(upsert_sql.keep_all(dataset, partition), ledger, timeout=KEEP_SECONDS)
    return int(status.split()[-1])


async def _count(db: Connection, partition: str) -> int:
    count: int = await db.fetchval(f"SELECT count(*) FROM ONLY {partition}", timeout=KEEP_SECONDS)
    return count


async def _lock_alone(db: Connection, dataset: Dataset, partition: str) -> None:
    """Locks the table exclusively, in short attempts so that others hardly wait. Raises TransientFailure."""
    until = time.monotonic() + PATIENCE_SECONDS
    pause = FIRST_PAUSE
    while True:
        try:
            async with db.transaction():
                await db.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
                await db.execute(
                    f"LOCK TABLE ONLY data.{quoted(dataset.name)}, ONLY {partition} IN ACCESS EXCLUSIVE MODE"
                )
                await db.execute("SET LOCAL lock_timeout TO DEFAULT")
                return
        except LOCK_TIMEOUT as error:
            if time.monotonic() > until:
                detail = (
                    f"{dataset.name} was read or loaded all the while, so the year was never free. It is where it was."
                )
                hint = "Ask again when fewer read it: long downloads hold it until they end."
                raise TransientFailure(None, Problem(code="table_busy", detail=detail, hint=hint)) from error
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
