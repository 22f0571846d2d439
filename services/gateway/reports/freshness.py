"""Freshness of reports: the dataset versions that a report includes, and the lag behind the loaded rows."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec

from services.gateway.reports.sql_check import TableRef
from shared.db import Connection
from shared.reads import analytics


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """The freshness of a report at `now`. A report with the same `key` has the same rows.

    `lag_seconds` is the age of the oldest chunk that is loaded and not counted.
    """

    versions: dict[str, int]
    lag_versions: int
    lag_seconds: float
    now: dt.datetime
    key: tuple[Any, ...]


async def select_freshness(db: Connection, datasets: Sequence[str], reads: Sequence[TableRef]) -> Freshness:
    """Selects the freshness of a report. Rollups include the counted versions, tables of rows the loaded ones.

    A rebuilt rollup may change without a new version, so the key includes the time of the rebuild.
    """
    by_name = await analytics.select_freshness(db, datasets)
    with_rollup = {table.dataset for table in reads if table.rollup is not None}
    lagging = [by_name[name] for name in datasets if name in with_rollup and name in by_name]
    key: list[Any] = []
    for table in reads:
        row = by_name[table.dataset]
        if table.rollup is None:
            key.append(row.version)
        else:  # before the first count, nothing shows whether the rollup has changed
            key += [row.now if row.uncounted else row.counted, *(row.built or ())]
    return Freshness(
        versions={name: by_name[name].counted if name in with_rollup else by_name[name].version for name in datasets},
        lag_versions=max((row.version - row.counted for row in lagging), default=0),
        lag_seconds=round(max((row.lag_seconds or 0.0 for row in lagging), default=0.0), 3),
        now=by_name[datasets[0]].now,
        key=tuple(key),
    )
