"""A report, computed: its rows and their freshness as one moment had them."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec

from services.gateway.http.problems import Problem
from services.gateway.reports.freshness import Fresh, select_fresh
from services.gateway.reports.registry import Ready
from shared.db import Connection, Pool
from shared.db.faults import INVALID_VALUES, MISSING_OBJECT, STALE_STATEMENT, STATEMENT_TIMEOUT, error_sentence

SLACK_SECONDS = 2.0
"""Postgres breaks a statement off by itself; if even that takes longer, we do."""


class Outdated(Exception):
    """The tables are not what they were when the report was looked at."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of a report for these `values`, in its order; `truncated` if there are more than its limit."""

    values: tuple[Any, ...]
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    truncated: bool
    fresh: Fresh

    @property
    def computed_at(self) -> dt.datetime:
        """The moment that it shows."""
        return self.fresh.now


async def compute(pool: Pool, ready: Ready, values: Sequence[Any]) -> Table:
    """Raises Problem 422, and Outdated."""
    report = ready.report
    try:
        return await _computed(pool, ready, values)
    except STATEMENT_TIMEOUT as error:
        raise Problem(
            422,
            "too_slow",
            f"{report.name} can't be computed within the {report.timeout:g} seconds that it is given.",
            hint="Ask for less by its parameters, or let it read a rollup; its declaration has the `timeout`.",
        ) from error
    except INVALID_VALUES as error:
        raise Problem(
            422,
            "not_computable",
            f"{report.name} can't be computed with these parameters: {error_sentence(error)}.",
            hint="Try other values, or have its SQL mended.",
        ) from error
    except (*MISSING_OBJECT, KeyError) as error:
        raise Outdated(str(error)) from error


async def _computed(pool: Pool, ready: Ready, values: Sequence[Any]) -> Table:
    for last in (False, True):
        try:
            async with pool.acquire() as db, db.transaction(isolation="repeatable_read", readonly=True):
                return await _select(db, ready, values)
        except STALE_STATEMENT:
            if last:
                raise
    raise AssertionError


async def _select(db: Connection, ready: Ready, values: Sequence[Any]) -> Table:
    report = ready.report
    fresh = await select_fresh(db, report.datasets, ready.reads)
    await db.execute(f"SET LOCAL statement_timeout = {int(report.timeout * 1000)}")
    rows = await db.fetch(report.build_statement().text, *values, timeout=report.timeout + SLACK_SECONDS)
    kept = [tuple(row) for row in rows[: report.row_limit]]
    return Table(
        values=tuple(values),
        columns=ready.columns,
        rows=kept,
        truncated=len(rows) > report.row_limit,
        fresh=fresh,
    )
