"""GET /v1/schedules: lists scheduled syncs, their next tick and their last ticks."""

import datetime as dt
from typing import Literal
from uuid import UUID

import msgspec
from litestar import get

from services.gateway.http.problems import responses
from services.gateway.http.responses import Answer
from services.gateway.sources import schedules
from services.gateway.sources.schedules import SourceSchedule, Tick, TickFate
from shared.db import Pool

SHOWN_TICKS = 5


class TickBody(msgspec.Struct, frozen=True):
    """A tick: it `ran` as this job, was `skipped` because this job was still running, or was `missed`."""

    due_at: dt.datetime
    fate: TickFate
    job_id: UUID | None
    links: dict[str, str]


class ScheduleBody(msgspec.Struct, frozen=True):
    """The schedule of a source and its last ticks, newest first."""

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
    """All schedules, sorted by dataset and source."""

    data: list[ScheduleBody]


@get(
    "/v1/schedules",
    tags=["sources"],
    summary="List schedules and their last ticks",
    description="Each tick fires once, however many gateways run. A tick is skipped while the previous sync is still"
    " running, unless the schedule has `overlap` = `allow`. After an outage only the last tick runs, if it is at most"
    " `catch_up_seconds` late; the other ticks are missed.",
    opt={"scope": "read"},
    responses=responses(),
)
async def list_schedules(pool: Pool) -> Answer[Schedules]:
    """Returns times in UTC."""
    async with pool.acquire() as db:
        scheduled = await schedules.select_schedules(db)
        ticks = await schedules.select_ticks(db, SHOWN_TICKS)
    return Answer(Schedules([_to_body(entry, ticks.get((entry.dataset, entry.source), [])) for entry in scheduled]))


def _to_body(entry: SourceSchedule, ticks: list[Tick]) -> ScheduleBody:
    return ScheduleBody(
        dataset=entry.dataset,
        source=entry.source,
        cron=entry.schedule.cron,
        timezone=entry.schedule.timezone,
        overlap=entry.schedule.overlap,
        catch_up_seconds=entry.schedule.catch_up_seconds,
        next_at=entry.next_at,
        ticks=[
            TickBody(tick.due_at, tick.fate, tick.job_id, {"job": f"/v1/jobs/{tick.job_id}"} if tick.job_id else {})
            for tick in ticks
        ],
        links={"syncs": f"/v1/datasets/{entry.dataset}/syncs", "sources": f"/v1/datasets/{entry.dataset}/sources"},
    )
