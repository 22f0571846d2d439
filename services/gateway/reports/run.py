"""Computes a report: its rows and their freshness from one snapshot."""

from collections.abc import Sequence
from typing import Any

import msgspec

from services.gateway.http.problems import Problem
from services.gateway.reports.freshness import Freshness, select_freshness
from services.gateway.reports.registry import ReadyReport
from shared.db import Connection, Pool
from shared.db.faults import INVALID_VALUES, MISSING_OBJECT, STALE_STATEMENT, STATEMENT_TIMEOUT, error_sentence

SLACK_SECONDS = 2.0
"""Postgres cancels a slow statement itself; if it does not within this time, the client does."""


class TablesChanged(Exception):
    """The tables have changed since the report was checked."""


class ReportTable(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of a report for these parameter `values`; `truncated` if there are more than the row limit."""

    values: tuple[Any, ...]
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    truncated: bool
    freshness: Freshness


async def compute(pool: Pool, ready: ReadyReport, values: Sequence[Any]) -> ReportTable:
    """Computes a report. Raises Problem 422 or TablesChanged."""
    report = ready.report
    try:
        return await _compute(pool, ready, values)
    except STATEMENT_TIMEOUT as error:
        raise Problem(
            422,
            "too_slow",
            f"{report.name} can't be computed within the {report.timeout:g} seconds of its timeout.",
            hint="Select fewer rows with the parameters, read a rollup, or raise the `timeout` in the declaration.",
        ) from error
    except INVALID_VALUES as error:
        raise Problem(
            422,
            "not_computable",
            f"{report.name} can't be computed with these parameters: {error_sentence(error)}.",
            hint="Try other values, or fix the SQL of the report.",
        ) from error
    except (*MISSING_OBJECT, KeyError) as error:
        raise TablesChanged(str(error)) from error


async def _compute(pool: Pool, ready: ReadyReport, values: Sequence[Any]) -> ReportTable:
    for last in (False, True):
        try:
            async with pool.acquire() as db, db.transaction(isolation="repeatable_read", readonly=True):
                return await _select(db, ready, values)
        except STALE_STATEMENT:
            if last:
                raise
    raise AssertionError


async def _select(db: Connection, ready: ReadyReport, values: Sequence[Any]) -> ReportTable:
    report = ready.report
    freshness = await select_freshness(db, report.datasets, ready.reads)
    await db.execute(f"SET LOCAL statement_timeout = {int(report.timeout * 1000)}")
    rows = await db.fetch(report.build_statement().text, *values, timeout=report.timeout + SLACK_SECONDS)
    return ReportTable(
        values=tuple(values),
        columns=ready.columns,
        rows=[tuple(row) for row in rows[: report.row_limit]],
        truncated=len(rows) > report.row_limit,
        freshness=freshness,
    )
