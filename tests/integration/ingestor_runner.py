"""Runs imports without a broker: calls the handlers of the ingestor as the service does."""

import contextlib
import datetime as dt
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec

from services.ingestor.imports.load import load_chunk, load_rows
from services.ingestor.imports.plan import plan_import
from services.ingestor.imports.replace import swap_stage
from services.ingestor.settings import IngestorSettings
from services.ingestor.tables.declare import declare_catalog, declare_dataset
from shared.bus import dead_letters, inbox
from shared.bus.dead_letters import DeadLetter
from shared.bus.failures import NotReady
from shared.catalog.dataset import Dataset
from shared.catalog.files import read_datasets
from shared.contracts.commands import DeclareDataset, LoadChunk, LoadRows, PlanImport, PullPage, SwapStage
from shared.contracts.dead_letter_events import RedriveRequested
from shared.contracts.events import ChunkLoaded, ImportPlanned, ImportStopped
from shared.contracts.parts import Dialect, LoadOptions, Outcome, Problem
from shared.db import Connection, Pool, connect
from shared.spool import Spool
from tests.stack import ROOT
from tests.waiting import eventually

CATALOG = ROOT / "catalog"
DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in read_datasets(CATALOG)}
CHUNK_BYTES = 100
CONNECTIONS = 8
ROUNDS = 100
SECONDS = 20.0
UPSERT = LoadOptions()
GAVE_UP = Problem(code="gave_up", detail="ValueError: never", hint="Redrive it.")
LoadCommand = LoadChunk | LoadRows | SwapStage
LoadResult = ChunkLoaded | SwapStage | ImportStopped


class JobEnd(msgspec.Struct, frozen=True):
    """The events of a job that has ended."""

    loaded: list[ChunkLoaded]
    stopped: ImportStopped | None

    @property
    def outcome(self) -> Outcome:
        """As the gateway computes it."""
        return self.stopped.outcome if self.stopped else total(self.loaded)


class Ingestor:
    """Loads texts as the service loads files."""

    def __init__(self, pool: Pool, folder: Path) -> None:
        self.pool = pool
        self._spool = Spool(folder.as_uri())
        self._folder = folder

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with self.pool.acquire() as db, db.transaction():
            yield db

    async def plan(
        self, dataset: str, text: str, *, columns: tuple[str, ...] = (), chunk_bytes: int = CHUNK_BYTES
    ) -> list[LoadChunk]:
        """The chunks of a text without a header line."""
        commands = await self.begin(dataset, text, columns=columns, chunk_bytes=chunk_bytes)
        return [message for message in commands if isinstance(message, LoadChunk)]

    async def begin(
        self,
        dataset: str,
        text: str,
        load_options: LoadOptions = UPSERT,
        *,
        columns: tuple[str, ...] = (),
        chunk_bytes: int = CHUNK_BYTES,
    ) -> list[LoadChunk | SwapStage]:
        """Plans the import of a text without a header line; returns its first commands."""
        commands, _ = await self.split(
            self.command(dataset, text, load_options, columns=columns), chunk_bytes=chunk_bytes
        )
        return commands

    def command(
        self, dataset: str, text: str, load_options: LoadOptions = UPSERT, *, columns: tuple[str, ...] = ()
    ) -> PlanImport:
        """To import a text, which is in the spool now."""
        job_id = uuid4()
        (self._folder / str(job_id)).write_text(text)
        names = columns or tuple(field.name for field in DATASETS[dataset].input_fields)
        return PlanImport(
            dataset=dataset,
            job_id=job_id,
            file=str(job_id),
            sha256="",
            bytes_total=len(text.encode()),
            dialect=Dialect(columns=names, header=False),
            load_options=load_options,
        )

    async def split(
        self, command: PlanImport, *, chunk_bytes: int = CHUNK_BYTES
    ) -> tuple[list[LoadChunk | SwapStage], ImportPlanned]:
        """Runs `plan_import`; returns its commands and its event."""
        settings = IngestorSettings(database_url="", broker_url="", spool_url="", chunk_bytes=chunk_bytes)
        async with self.transaction() as db:
            assert await inbox.claim(db, command.id, command.name())
            messages = await plan_import(command, db, self._spool, settings)
        assert isinstance(messages, list)
        commands = [message for message in messages if not isinstance(message, ImportPlanned)]
        (planned,) = (message for message in messages if isinstance(message, ImportPlanned))
        loads = [message for message in commands if isinstance(message, LoadChunk)]
        swaps = command.load_options.mode == "replace" and not command.load_options.validate_only
        assert (planned.chunks, planned.bytes) == (len(loads) + swaps, command.bytes_total)
        return commands, planned

    async def hear(self, message: LoadCommand) -> list[LoadResult]:
        """As `Delivery` has it: once, however often it comes, and all or nothing."""
        async with self.transaction() as db:
            return await self.handle(message, db) if await inbox.claim(db, message.id, message.name()) else []

    async def hear_together(self, commands: Sequence[LoadRows]) -> list[LoadResult]:
        """A group of batches, like `hear`."""
        async with self.transaction() as db:
            for command in commands:
                assert await inbox.claim(db, command.id, command.name())
            return [*await load_rows(commands, db)]

    async def handle(self, message: LoadCommand, db: Connection) -> list[LoadResult]:
        """In a transaction that the caller ends."""
        match message:
            case LoadChunk():
                return [*await load_chunk(message, db, self._spool)]
            case LoadRows():
                return [*await load_rows([message], db)]
            case SwapStage():
                return [*await swap_stage(message, db)]

    async def follow(self, commands: Iterable[LoadCommand], chance: random.Random | None = None) -> JobEnd:
        """Runs the commands and those that follow from them: in order, or shuffled with some of them twice."""
        waiting: list[LoadCommand] = [*commands]
        loaded: list[ChunkLoaded] = []
        stopped: ImportStopped | None = None
        for _ in range(ROUNDS):
            if not waiting:
                return JobEnd(loaded, stopped)
            if chance is not None:
                chance.shuffle(waiting)
                waiting += chance.sample(waiting, len(waiting) // 3)
            now, waiting = waiting, []
            for message in now:
                try:
                    results = await self.hear(message)
                except NotReady:
                    waiting.append(message)
                    continue
                loaded += [event for event in results if isinstance(event, ChunkLoaded)]
                waiting += [command for command in results if isinstance(command, SwapStage)]
                stopped = next((event for event in results if isinstance(event, ImportStopped)), stopped)
        raise AssertionError(f"postponed for ever: {waiting}")

    async def do(
        self,
        dataset: str,
        text: str,
        load_options: LoadOptions = UPSERT,
        *,
        chance: random.Random | None = None,
        columns: tuple[str, ...] = (),
        chunk_bytes: int = CHUNK_BYTES,
    ) -> JobEnd:
        """A whole job."""
        return await self.follow(
            await self.begin(dataset, text, load_options, columns=columns, chunk_bytes=chunk_bytes), chance
        )

    async def declare(self, name: str, declaration: dict[str, Any]) -> None:
        """A dataset that the catalog does not have."""
        command = DeclareDataset(dataset=name, follows=0, digest="", declaration=declaration)
        async with self.transaction() as db:
            assert await declare_dataset(command, db) is not None

    async def give_up(self, message: LoadCommand | PullPage) -> None:
        """As `Delivery` does after the last attempt."""
        async with self.transaction() as db:
            await dead_letters.give_up(
                db,
                DeadLetter(
                    id=message.id,
                    queue=f"ingestor.{message.name()}",
                    name=message.name(),
                    dataset=message.dataset,
                    job_id=message.job_id,
                    data=message.encode(),
                    command=True,
                    reason="failed",
                    problem=GAVE_UP,
                    attempts=1,
                    created_at=dt.datetime.now(dt.UTC),
                ),
            )

    async def redrive(self, message: LoadCommand | PullPage) -> None:
        """Undoes `give_up`."""
        async with self.transaction() as db:
            await dead_letters.redrive(RedriveRequested(dataset="", request_id=uuid4(), ids=(message.id,)), db)

    def lose(self, job_id: UUID) -> None:
        """The file is gone from the spool."""
        self._spool.delete(str(job_id))

    async def load(self, chunk: LoadChunk) -> ChunkLoaded:
        """Commits, or raises whatever the handler raises."""
        async with self.transaction() as db:
            return _event(await load_chunk(chunk, db, self._spool))

    async def load_within(self, chunk: LoadChunk, db: Connection) -> ChunkLoaded:
        """In a transaction that the caller ends."""
        return _event(await load_chunk(chunk, db, self._spool))

    async def load_all(self, chunks: Iterable[LoadChunk], chance: random.Random | None = None) -> list[ChunkLoaded]:
        """Each chunk until it is loaded, in the order in which they come or by chance; postponed ones come again."""
        waiting = list(chunks)
        loaded: list[ChunkLoaded] = []
        for _ in range(ROUNDS):
            if not waiting:
                return loaded
            if chance is not None:
                chance.shuffle(waiting)
            again = []
            for chunk in waiting:
                try:
                    loaded.append(await self.load(chunk))
                except NotReady:
                    again.append(chunk)
            waiting = again
        raise AssertionError(f"postponed for ever: {waiting}")

    async def bring(self, dataset: str, text: str) -> Outcome:
        """Plans and loads all of it, and adds up what became of the rows."""
        return total(await self.load_all(await self.plan(dataset, text)))

    async def rows(self, dataset: str) -> list[asyncpg.Record]:
        """In the order of their key."""
        return await self.pool.fetch(f'SELECT * FROM data."{dataset}" ORDER BY {key(dataset)}')

    async def failed_rows(self, job_id: UUID) -> list[asyncpg.Record]:
        """In the order of the file."""
        return await self.pool.fetch("SELECT * FROM failed_rows WHERE job_id = $1 ORDER BY line, id", job_id)


def _event(results: list[ChunkLoaded | SwapStage | ImportStopped]) -> ChunkLoaded:
    (event,) = results
    assert isinstance(event, ChunkLoaded)
    return event


@contextlib.asynccontextmanager
async def connected(url: str, name: str, connections: int = 4) -> AsyncIterator[Pool]:
    """A pool as a service has it."""
    pool = await connect(url, name=name, connections=connections)
    try:
        yield pool
    finally:
        await pool.close()


@contextlib.asynccontextmanager
async def ingesting(urls: dict[str, str], folder: Path) -> AsyncIterator[Ingestor]:
    """An ingestor that has declared the catalog of this repository."""
    async with connected(urls["ingestor"], "ingestor", CONNECTIONS) as pool:
        async with pool.acquire() as db, db.transaction():
            await declare_catalog(db, CATALOG)
        yield Ingestor(pool, folder)


async def forget(admin: asyncpg.Connection) -> None:
    """Empties every table but the declarations, so that an example begins as the one before it did."""
    tables = await admin.fetch(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
        " WHERE schemaname IN ('data', 'documents', 'rollups', 'ingestor', 'indexer', 'analytics')"
        " AND (schemaname, tablename)"
        " NOT IN (('ingestor', 'datasets'), ('indexer', 'indexes'), ('analytics', 'rollups'))"
    )
    # A table of a few rows is emptied in no time; truncating one makes new files for it and each of its indexes.
    await admin.execute("; ".join(f"DELETE FROM {table['name']}" for table in tables))
    await admin.execute("UPDATE indexer.indexes SET words = 0")


async def somebody_waits(pool: Pool) -> None:
    """Until a session of this database waits for another one's lock."""

    async def waits() -> bool:
        return bool(
            await pool.fetchval(
                "SELECT true FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        )

    await eventually(waits, SECONDS)


def key(dataset: str) -> str:
    """The columns of a dataset's key, for SQL."""
    return ", ".join(f'"{name}"' for name in DATASETS[dataset].key)


def total(loaded: Sequence[ChunkLoaded]) -> Outcome:
    """What became of the rows of all these chunks."""
    words = Outcome.__struct_fields__
    return Outcome(**{word: sum(getattr(event.outcome, word) for event in loaded) for word in words})
