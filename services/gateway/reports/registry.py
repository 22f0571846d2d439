"""Registry of the declared reports: reads their files and checks them against Postgres whenever either changes."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog

from services.gateway.catalog import Catalog
from services.gateway.http.problems import Detail, Problem, not_found
from services.gateway.reports import sql_check
from services.gateway.reports.sql_check import BadStatement, MissingRelation, TableRef
from shared.catalog.dataset import Dataset
from shared.catalog.report import Report
from shared.catalog.report_files import Flaw, ReportFile, read_reports
from shared.db import Connection, Pool

EVERY_SECONDS = 2.0
RETRY_SECONDS = 2
ReportState = Literal["ready", "waiting", "broken"]
log = structlog.get_logger()


class ReportStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A declared report: ready, `waiting` for tables, or `broken` because of `flaws`.

    `digest` is the hash of the declaration.
    """

    name: str
    report: Report | None
    state: ReportState
    flaws: tuple[Flaw, ...] = ()
    reads: tuple[TableRef, ...] = ()
    columns: tuple[str, ...] = ()
    digest: bytes = b""


class ReadyReport(msgspec.Struct, frozen=True, kw_only=True):
    """A report that can be computed."""

    report: Report
    reads: tuple[TableRef, ...]
    columns: tuple[str, ...]
    digest: bytes


class ReportRegistry:
    """Checks every two seconds whether the files or the tables have changed, and if so, reads all reports again.

    The status of a report depends only on its file and the tables: a broken file replaces the report that it declared
    before. Otherwise a restarted gateway and a running one would respond differently.
    """

    def __init__(self, folder: Path, catalog: Catalog) -> None:
        self.statuses: dict[str, ReportStatus] = {}
        self._folder = folder
        self._catalog = catalog
        self._inputs: tuple[Any, ...] | None = None
        self._lock = asyncio.Lock()

    async def run(self, pool: Pool) -> int:
        """Reads the reports again if files or tables have changed. Returns 0, the number of messages sent."""
        async with self._lock:
            entries = await self._catalog.reload(pool)
            datasets = {name: entry.dataset for name, entry in entries.items()}
            async with pool.acquire() as db:
                tables = await _select_tables(db)
                inputs = (self._file_stamps(), {name: entry.revision for name, entry in entries.items()}, tables)
                if inputs == self._inputs:
                    return 0
                files = await asyncio.to_thread(read_reports, self._folder)
                statuses = {file.name: await _check(db, file, datasets, tables) for file in files}
            for name, status in statuses.items():
                if status.flaws and self.statuses.get(name) != status:
                    log.warning(
                        "report can't be computed", report=name, state=status.state, flaws=list(map(str, status.flaws))
                    )
            self.statuses, self._inputs = statuses, inputs
        return 0

    async def all(self, pool: Pool) -> list[ReportStatus]:
        """Returns all reports, whatever their state, sorted by name."""
        if self._inputs is None or any(status.state == "waiting" for status in self.statuses.values()):
            await self.run(pool)
        return list(self.statuses.values())

    async def ready(self, pool: Pool, name: str) -> ReadyReport:
        """Returns a report that can be computed. Raises Problem 404, which lists all names, or 503."""
        status = await self._find(pool, name)
        if status.state == "ready" and status.report is not None:
            return ReadyReport(report=status.report, reads=status.reads, columns=status.columns, digest=status.digest)
        raise to_problem(status)

    def invalidate(self) -> None:
        """Makes the next call read the reports again, because a statement has found a changed table."""
        self._inputs = None

    async def _find(self, pool: Pool, name: str) -> ReportStatus:
        if name not in self.statuses or self.statuses[name].state == "waiting":
            await self.run(pool)
        if name not in self.statuses:
            raise not_found("report", name, hint=f"There are: {', '.join(self.statuses)}.")
        return self.statuses[name]

    def _file_stamps(self) -> tuple[Any, ...]:
        return tuple(
            (path.name, stat.st_mtime_ns, stat.st_size, stat.st_ino)
            for path in sorted((self._folder / "reports").glob("*.toml"))
            for stat in [path.stat()]
        )


def to_problem(status: ReportStatus) -> Problem:
    """Returns the reason why a report can't be computed now."""
    errors = [Detail(code=status.state, line=build_flaw.line, detail=str(build_flaw)) for build_flaw in status.flaws]
    if status.state == "waiting":
        return Problem(
            503,
            "report_waiting",
            f"{status.name} can't be computed yet: {status.flaws[0].detail}.",
            hint="Retry in a moment; GET /v1/reports shows the state of each report.",
            errors=errors,
            headers={"Retry-After": str(RETRY_SECONDS)},
        )
    return Problem(
        503,
        "report_broken",
        f"The declaration of {status.name} can't be used: {status.flaws[0]}",
        hint="An operator must fix the file; the gateway then reads it without a restart.",
        errors=errors,
    )


async def _check(
    db: Connection, file: ReportFile, datasets: dict[str, Dataset], tables: dict[str, int]
) -> ReportStatus:
    report = file.report
    if report is None or file.flaws:
        return ReportStatus(name=file.name, report=report, state="broken", flaws=file.flaws)
    digest = hashlib.sha256(msgspec.json.encode(report)).digest()
    missing = _missing(report, datasets, tables)
    try:
        if not set(report.datasets) <= datasets.keys():
            raise MissingRelation("a dataset does not exist")
        checked = await _check_sql(db, report, datasets)
    except BadStatement as error:
        waits = isinstance(error, MissingRelation) and bool(missing)
        detail = f"there is no {', no '.join(missing)} yet" if waits else str(error)
        pointer = f"#/sql/{error.place}" if error.place is not None else "#/sql"
        return ReportStatus(
            name=file.name,
            report=report,
            state="waiting" if waits else "broken",
            flaws=(file.build_flaw("#/datasets" if waits else pointer, detail),),
            digest=digest,
        )
    if report.chart is not None and (mistakes := report.chart.find_mistakes(checked.columns, checked.numbers)):
        flaws = tuple(file.build_flaw("#/chart", detail) for detail in mistakes)
        return ReportStatus(name=file.name, report=report, state="broken", flaws=flaws, digest=digest)
    return ReportStatus(
        name=file.name, report=report, state="ready", reads=checked.reads, columns=checked.columns, digest=digest
    )


async def _check_sql(db: Connection, report: Report, datasets: dict[str, Dataset]) -> sql_check.CheckedStatement:
    transaction = db.transaction()
    await transaction.start()
    try:
        return await sql_check.check(db, report, datasets)
    finally:
        await transaction.rollback()


def _missing(report: Report, datasets: dict[str, Dataset], tables: dict[str, int]) -> list[str]:
    """Returns the datasets and rollups of the report that have no table yet."""
    missing = [f"dataset {name}" for name in report.datasets if name not in datasets]
    for name in report.datasets:
        if name in datasets:
            rollups = [rollup.table(name) for rollup in datasets[name].rollups]
            missing += [f"rollup {table}" for table in rollups if table not in tables]
    return missing


async def _select_tables(db: Connection) -> dict[str, int]:
    """Returns the tables of rollups with their oids, which change when a table is recreated."""
    rows = await db.fetch(
        "SELECT relname, oid::bigint FROM pg_class WHERE relnamespace = 'rollups'::regnamespace AND relkind = 'r'"
    )
    return {row["relname"]: row["oid"] for row in rows}
