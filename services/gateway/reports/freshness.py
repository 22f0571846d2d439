"""Up to which version of each dataset a report knows everything, and how far that is behind what is loaded."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec

from services.gateway.reports.sql_check import Read
from shared.db import Connection


class Fresh(msgspec.Struct, frozen=True, kw_only=True):
    """At a moment. While `key` is the same, so is the report.

    `lag_seconds` is the age of the oldest chunk that is loaded and not counted.
    """

    versions: dict[str, int]
    lag_versions: int
    lag_seconds: float
    now: dt.datetime
    key: tuple[Any, ...]


async def select_fresh(db: Connection, datasets: Sequence[str], reads: Sequence[Read]) -> Fresh:
    """Of a report. Where it reads a rollup, what is counted is known; where it reads rows alone, all that is loaded.

    A rollup that is built anew may change without a new version, so the time of that is part of the key.
    """
    rows = await db.fetch(
        """
        SELECT d.name, d.version, coalesce(f.counted, 0) AS counted, f.dataset IS NULL AS untold, now() AS now,
               CASE WHEN d.version > coalesce(f.counted, 0) THEN (
                   SELECT extract(epoch FROM clock_timestamp() - min(c.loaded_at))::float8
                   FROM ingestor.chunks c LEFT JOIN analytics.chunks a USING (ledger)
                   WHERE c.dataset = d.name AND c.version > coalesce(f.counted, 0) AND a.ledger IS NULL
               ) END AS lag_seconds,
               (SELECT array_agg(r.built_at ORDER BY r.name) FROM analytics.rollups r WHERE r.dataset = d.name) AS built
        FROM ingestor.datasets d LEFT JOIN analytics.freshness f ON f.dataset = d.name WHERE d.name = ANY($1::text[])
        """,
        datasets,
    )
    found = {row["name"]: row for row in rows}
    summed = {read.dataset for read in reads if read.rollup is not None}
    lagging = [found[name] for name in datasets if name in summed and name in found]
    key: list[Any] = []
    for read in reads:
        row = found[read.dataset]
        if read.rollup is None:
            key.append(row["version"])
        else:  # before the first count there is nothing to tell a changed rollup by
            key += [row["now"] if row["untold"] else row["counted"], *(row["built"] or ())]
    return Fresh(
        versions={name: found[name]["counted" if name in summed else "version"] for name in datasets},
        lag_versions=max((row["version"] - row["counted"] for row in lagging), default=0),
        lag_seconds=round(max((row["lag_seconds"] or 0.0 for row in lagging), default=0.0), 3),
        now=rows[0]["now"],
        key=tuple(key),
    )
