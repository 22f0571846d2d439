"""The reports that can be asked for: files of the catalog folder, as Postgres finds them to be at this moment."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog

from services.gateway.catalog import Catalog
from services.gateway.http.problems import Detail, Problem, not_found
from services.gateway.reports import sql_check
from services.gateway.reports.sql_check import Absent, BadStatement, Read
from shared.catalog.dataset import Dataset
from shared.catalog.report import Report
from shared.catalog.report_files import Flaw, ReportFile, read_reports
from shared.db import Connection, Pool

EVERY_SECONDS = 2.0
RETRY_SECONDS = 2
State = Literal["ready", "waiting", "broken"]
log = structlog.get_logger()


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A declared report: `waiting` for tables that are to be made, or `broken` by `flaws`. A ready one has none.

    `digest` tells its declaration from every other.
    """

    name: str
    report: Report | None
    state: State
    flaws: tuple[Flaw, ...] = ()
    reads: tuple[Read, ...] = ()
    columns: tuple[str, ...] = ()
    digest: bytes = b""


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """A report that can be computed."""

    report: Report
    reads: tuple[Read, ...]
    columns: tuple[str, ...]
    digest: bytes


class Reports:
    """Looks every other second whether the files or the tables have changed, and if so, what they make of each report.

    What a report is follows from its file and the tables alone: a broken file is not outlived by what it said before,
    which would be gone after a restart, and with another gateway.
    """

    def __init__(self, folder: Path, catalog: Catalog) -> None:
        self.standing: dict[str, Standing] = {}
        self._folder = folder
        self._catalog = catalog
        self._seen: tuple[Any, ...] | None = None
        self._looking = asyncio.Lock()

    async def run(self, pool: Pool) -> int:
        """Says nothing, as a clock's look."""
        async with self._looking:
            declared = await self._catalog.read(pool)
            datasets = {name: one.dataset for name, one in declared.items()}
            async with pool.acquire() as db:
                tables = await _select_tables(db)
                seen = (self._stamps(), {name: one.revision for name, one in declared.items()}, tables)
                if seen == self._seen:
                    return 0
                files = await asyncio.to_thread(read_reports, self._folder)
                found = {file.name: await _examine(db, file, datasets, tables) for file in files}
            for name, one in found.items():
                if one.flaws and self.standing.get(name) != one:
                    log.warning(
                        "report can't be computed", report=name, state=one.state, flaws=list(map(str, one.flaws))
                    )
            self.standing, self._seen = found, seen
        return 0

    async def all(self, pool: Pool) -> list[Standing]:
        """By name, whatever their state."""
        if self._seen is None or any(one.state == "waiting" for one in self.standing.values()):
            await self.run(pool)
        return list(self.standing.values())

    async def ready(self, pool: Pool, name: str) -> Ready:
        """Raises Problem 404, which names those that there are, and 503 for a report that can't be computed."""
        one = await self._find(pool, name)
        if one.state == "ready" and one.report is not None:
            return Ready(report=one.report, reads=one.reads, columns=one.columns, digest=one.digest)
        raise to_problem(one)

    def forget(self) -> None:
        """What was seen last: a table has changed, as a statement has found out."""
        self._seen = None

    async def _find(self, pool: Pool, name: str) -> Standing:
        if name not in self.standing or self.standing[name].state == "waiting":
            await self.run(pool)
        if name not in self.standing:
            raise not_found("report", name, hint=f"There are: {', '.join(self.standing)}.")
        return self.standing[name]

    def _stamps(self) -> tuple[Any, ...]:
        return tuple(
            (path.name, stat.st_mtime_ns, stat.st_size, stat.st_ino)
            for path in sorted((self._folder / "reports").glob("*.toml"))
            for stat in [path.stat()]
        )


def to_problem(one: Standing) -> Problem:
    """Why a report can't be computed now."""
    errors = [Detail(code=one.state, line=flaw.line, detail=str(flaw)) for flaw in one.flaws]
    if one.state == "waiting":
        return Problem(
            503,
            "report_waiting",
            f"{one.name} can't be computed yet: {one.flaws[0].detail}.",
            hint="Ask again in a moment; GET /v1/reports tells the state of each.",
            errors=errors,
            headers={"Retry-After": str(RETRY_SECONDS)},
        )
    return Problem(
        503,
        "report_broken",
        f"The declaration of {one.name} can't be used: {one.flaws[0]}",
        hint="An operator must mend the file; no restart is needed then.",
        errors=errors,
    )


async def _examine(db: Connection, file: ReportFile, datasets: dict[str, Dataset], tables: dict[str, int]) -> Standing:
    report = file.report
    if report is None or file.flaws:
        return Standing(name=file.name, report=report, state="broken", flaws=file.flaws)
    digest = hashlib.sha256(msgspec.json.encode(report)).digest()
    missing = _missing(report, datasets, tables)
    try:
        if not set(report.datasets) <= datasets.keys():
            raise Absent("a dataset is not there")
        examined = await _rolled_back(db, report, datasets)
    except BadStatement as error:
        waits = isinstance(error, Absent) and bool(missing)
        detail = f"there is no {', no '.join(missing)} yet" if waits else str(error)
        pointer = f"#/sql/{error.place}" if error.place is not None else "#/sql"
        return Standing(
            name=file.name,
            report=report,
            state="waiting" if waits else "broken",
            flaws=(file.build_flaw("#/datasets" if waits else pointer, detail),),
            digest=digest,
        )
    if report.chart is not None and (wrong := report.chart.find_mistakes(examined.columns, examined.numbers)):
        flaws = tuple(file.build_flaw("#/chart", detail) for detail in wrong)
        return Standing(name=file.name, report=report, state="broken", flaws=flaws, digest=digest)
    return Standing(
        name=file.name, report=report, state="ready", reads=examined.reads, columns=examined.columns, digest=digest
    )


async def _rolled_back(db: Connection, report: Report, datasets: dict[str, Dataset]) -> sql_check.Examined:
    transaction = db.transaction()
    await transaction.start()
    try:
        return await sql_check.examine(db, report, datasets)
    finally:
        await transaction.rollback()


def _missing(report: Report, datasets: dict[str, Dataset], tables: dict[str, int]) -> list[str]:
    """What is declared, or said to be a dataset, and has no table."""
    found = [f"dataset {name}" for name in report.datasets if name not in datasets]
    for name in report.datasets:
        if name in datasets:
            rollups = [rollup.table(name) for rollup in datasets[name].rollups]
            found += [f"rollup {table}" for table in rollups if table not in tables]
    return found


async def _select_tables(db: Connection) -> dict[str, int]:
    """The tables of rollups, each with a number that is another one when it is made anew."""
    rows = await db.fetch(
        "SELECT relname, oid::bigint FROM pg_class WHERE relnamespace = 'rollups'::regnamespace AND relkind = 'r'"
    )
    return {row["relname"]: row["oid"] for row in rows}
