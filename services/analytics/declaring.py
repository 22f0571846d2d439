"""Which rollups stand: those that are declared, made from the rows that are there. And those that are made anew."""

import structlog

from services.analytics import building, queries
from services.analytics.rollups import Tables
from shared import ledger
from shared.bus.failures import PermanentFailure
from shared.catalog.dataset import Dataset
from shared.contracts.commands import RebuildRollup
from shared.contracts.events import DatasetDeclared, RollupRebuilt
from shared.contracts.message import Message
from shared.contracts.parts import Problem
from shared.db import Connection
from shared.telemetry import metrics

log = structlog.get_logger()


async def prepare_all(db: Connection) -> list[Message]:
    """At start: what was declared while nobody listened, or before rollups were made this way."""
    for declared in await queries.select_unprepared(db):
        await prepare(db, declared.dataset)
    return []


async def prepare_rollups(event: DatasetDeclared, db: Connection) -> None:
    """A report can be asked for before the first row is there, and one that is declared later has all rows."""
    await prepare(db, event.dataset)


async def rebuild_rollup(command: RebuildRollup, db: Connection) -> RollupRebuilt:
    """Raises PermanentFailure for a rollup that is not declared."""
    await queries.lock_building(db, command.dataset)
    await prepare(db, command.dataset)
    dataset = await ledger.select_dataset(db, command.dataset)
    standing = await queries.select_standing(db, dataset)
    named = {tables.rollup.name: tables for tables in standing}
    if command.rollup not in named:
        detail = f"Dataset {command.dataset} declares no rollup {command.rollup!r}."
        raise PermanentFailure(Problem(code="unknown_rollup", detail=detail))
    rebuilt = await building.rebuild(db, named[command.rollup], standing)
    metrics.MENDED.labels(command.dataset).inc(rebuilt.mended)
    log.info("rebuilt", rollup=command.rollup, **rebuilt._asdict())
    event = RollupRebuilt(dataset=command.dataset, job_id=command.job_id, rollup=command.rollup, **rebuilt._asdict())
    await queries.insert_refresh(db, event)
    return event


async def prepare(db: Connection, name: str) -> None:
    """Nothing happens if all stand as they are declared."""
    if await _differ(db, name) is None:
        return
    await queries.lock_building(db, name)
    # Of two declarations that follow each other, the later one decides.
    if (found := await _differ(db, name)) is None:
        return
    dataset, kept, gone, new = found
    await building.build(db, dataset, kept, gone, new)
    log.info("built", dataset=name, made=[one.rollup.name for one in new], dropped=[one.rollup.name for one in gone])


async def _differ(db: Connection, name: str) -> tuple[Dataset, list[Tables], list[Tables], list[Tables]] | None:
    """Rollups that stand as declared, others that stand, and others that are declared; None if there are no others."""
    dataset = await ledger.select_dataset(db, name)
    standing = await queries.select_standing(db, dataset)
    kept = [tables for tables in standing if tables.rollup in dataset.rollups]
    gone = [tables for tables in standing if tables not in kept]
    known = [tables.rollup for tables in kept]
    new = [Tables(dataset, rollup) for rollup in dataset.rollups if rollup not in known]
    return (dataset, kept, gone, new) if gone or new else None
