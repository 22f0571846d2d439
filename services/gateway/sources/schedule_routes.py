"""GET /v1/schedules: what happens by itself, when it happens next, and what became of it the last times."""

import datetime as dt
from typing import Literal
from uuid import UUID

import msgspec
from litestar import get

from services.gateway.http.problems import responses
from services.gateway.http.responses import Answer
from services.gateway.sources import schedules
from services.gateway.sources.schedules import Fate, Scheduled, Tick
from shared.db import Pool

SHOWN_TICKS = 5


class TickBody(msgspec.Struct, frozen=True):
    """A tick that ran as a job, was skipped because that job still ran, or was missed."""

    due_at: dt.datetime
    fate: Fate
    job_id: UUID | None
    links: dict[str, str]


class ScheduleBody(msgspec.Struct, frozen=True):
    """The schedule of a source; `ticks` are its last ones, newest first."""

    dataset: str
    source: str
    cron: str
    timezone: str
    overlap: Literal["skip", "allow"]
    catch_up_seconds: int
    next_at: dt.datetime
    ticks: list[TickBody]
    links: dict[str, str]


class Schedules(msgspec.Struct, frozen=True):
    """By dataset and source."""

    data: list[ScheduleBody]


@get(
    "/v1/schedules",
    tags=["sources"],
    summary="All schedules with their last ticks",
    description="Each tick fires once, however many gateways run. While the sync before it has not ended a tick is"
    " skipped, unless its schedule has `overlap` = `allow`. After an outage the last tick that is no later than"
    " `catch_up_seconds` runs, and the others are missed.",
    opt={"scope": "read"},
    responses=responses(),
)
async def list_schedules(pool: Pool) -> Answer[Schedules]:
    """Times in UTC."""
    async with pool.acquire() as db:
        found = await schedules.select_all(db)
        ticks = await schedules.select_ticks(db, SHOWN_TICKS)
    return Answer(Schedules([_to_body(one, ticks.get((one.dataset, one.source), [])) for one in found]))


def _to_body(one: Scheduled, ticks: list[Tick]) -> ScheduleBody:
    return ScheduleBody(
        dataset=one.dataset,
        source=one.source,
        cron=one.schedule.cron,
        timezone=one.schedule.timezone,
        overlap=one.schedule.overlap,
        catch_up_seconds=one.schedule.catch_up_seconds,
        next_at=one.next_at,
        ticks=[
            TickBody(tick.due_at, tick.fate, tick.job_id, {"job": f"/v1/jobs/{tick.job_id}"} if tick.job_id else {})
            for tick in ticks
        ],
        links={"syncs": f"/v1/datasets/{one.dataset}/syncs", "sources": f"/v1/datasets/{one.dataset}/sources"},
    )
