"""The scheduler on Postgres: each tick is decided once, with several gateways and after failures."""

import asyncio
import datetime as dt
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from services.gateway.jobs.submit import Submission, submit_jobs, uuid7
from services.gateway.sources import scheduler, schedules
from services.gateway.sources.syncs import sync_request
from shared.catalog.schedule import Schedule, next_after
from shared.contracts.commands import PullPage
from shared.db import Pool, transaction
from tests.integration.ingestor_runner import connected

ROUNDS = 40
LOOKERS = 6
DAILY = {"cron": "0 0 * * *"}
MINUTELY = {"cron": "* * * * *"}


class World:
    """A database with declarations, and the pools of two gateways on it."""

    def __init__(self, admin: asyncpg.Connection, here: Pool, there: Pool) -> None:
        self.admin = admin
        self.here = here
        self.there = there

    async def declare(self, dataset: str = "people", **sources: dict[str, Any] | None) -> None:
        """A dataset whose sources have these schedules, or none."""
        declared = [
            {"name": name, "url": "http://nowhere", **({"schedule": schedule} if schedule else {})}
            for name, schedule in sources.items()
        ]
        declaration = {
            "name": dataset,
            "title": "People",
            "primary_key": ["id"],
            "fields": [{"name": "id", "type": "integer", "required": True}],
            **({"sources": declared} if declared else {}),
        }
        await self.admin.execute(
            "INSERT INTO ingestor.datasets (name, declaration) VALUES ($1, $2)"
            " ON CONFLICT (name) DO UPDATE SET declaration = excluded.declaration",
            dataset,
            json.dumps(declaration),
        )

    async def run(self) -> int:
        return await scheduler.run(self.here)

    async def scheduled(self, source: str = "crm") -> schedules.SourceSchedule | None:
        async with self.here.acquire() as db:
            return next((one for one in await schedules.select_schedules(db) if one.source == source), None)

    async def now(self) -> dt.datetime:
        now: dt.datetime = await self.here.fetchval("SELECT now()")
        return now

    async def make_due(self, ago: dt.timedelta = dt.timedelta(seconds=1), source: str = "crm") -> dt.datetime:
        """The schedule's next tick was due so long ago."""
        due_at: dt.datetime = await self.admin.fetchval(
            "UPDATE gateway.schedules SET next_at = now() - $2::interval WHERE source = $1 RETURNING next_at",
            source,
            ago,
        )
        return due_at

    async def jobs(self) -> list[asyncpg.Record]:
        return await self.here.fetch("SELECT * FROM jobs ORDER BY id")

    async def ticks(self, source: str = "crm") -> list[tuple[dt.datetime, str, Any]]:
        rows = await self.here.fetch("SELECT due_at, fate, job_id FROM ticks WHERE source = $1 ORDER BY 1", source)
        return [tuple(row) for row in rows]

    async def end_jobs(self) -> None:
        await self.here.execute("UPDATE jobs SET status = 'succeeded', finished_at = now() WHERE finished_at IS NULL")


@pytest.fixture
async def world(database: dict[str, str]) -> AsyncIterator[World]:
    admin = await asyncpg.connect(database["admin"])
    async with (
        connected(database["gateway"], "here", LOOKERS) as here,
        connected(database["gateway"], "there") as there,
    ):
        yield World(admin, here, there)
    await admin.close()


# In step with the declarations


async def test_a_new_schedule_is_due_next_after_now(world: World) -> None:
    await world.declare(crm={"cron": "0 3 * * *", "timezone": "Asia/Tokyo"}, shop=None)
    before = await world.now()
    await world.run()
    found = await world.scheduled()
    assert found is not None
    assert found.next_at in {next_after(found.schedule, before), next_after(found.schedule, await world.now())}
    assert await world.scheduled("shop") is None
    assert await world.jobs() == []


async def test_a_dataset_without_sources_is_none_of_its_business(world: World) -> None:
    await world.declare()
    assert await world.run() == 0


async def test_a_schedule_with_other_times_starts_over_and_one_with_other_options_goes_on(world: World) -> None:
    await world.declare(crm=DAILY)
    await world.run()
    first = await world.scheduled()
    assert first is not None

    await world.declare(crm={**DAILY, "overlap": "allow"})
    due_at = await world.make_due(dt.timedelta(seconds=-3600))
    await world.run()
    same = await world.scheduled()
    assert same == schedules.SourceSchedule("people", "crm", Schedule(cron="0 0 * * *", overlap="allow"), due_at)

    await world.declare(crm={"cron": "0 0 29 2 *"})
    await world.run()
    other = await world.scheduled()
    assert other is not None
    assert (other.next_at.month, other.next_at.day, other.schedule.overlap) == (2, 29, "skip")


async def test_what_was_due_before_it_was_changed_is_not_fired_at_its_new_times(world: World) -> None:
    await world.declare(crm=DAILY)
    await world.run()
    await world.make_due()
    await world.declare(crm={"cron": "0 0 29 2 *"})
    assert await world.run() == 0
    assert (await world.ticks(), await world.jobs()) == ([], [])


async def test_a_schedule_that_is_gone_is_never_due_again(world: World) -> None:
    await world.declare(crm=DAILY, shop=DAILY)
    await world.run()
    await world.make_due()
    await world.declare(crm=None, shop=DAILY)
    assert await world.run() == 0
    assert await world.scheduled() is None
    assert await world.scheduled("shop") is not None
    await world.declare()
    await world.run()
    assert await world.scheduled("shop") is None


async def test_a_time_zone_that_is_not_known_here_keeps_nothing_else_from_running(world: World) -> None:
    await world.declare(crm=DAILY, mars={"cron": "0 0 * * *", "timezone": "Mars/Olympus"})
    await world.run()
    assert await world.scheduled("mars") is None
    await world.admin.execute(
        "INSERT INTO gateway.schedules VALUES ('people', 'mars', $1, now() - interval '1 minute')",
        json.dumps({"cron": "0 0 * * *", "timezone": "Mars/Olympus"}),
    )
    await world.make_due()
    assert await world.run() == 1
    assert [tick[1] for tick in await world.ticks()] == ["ran"]
    assert await world.scheduled("mars") is not None  # for a gateway that knows the zone


# Once


async def test_a_tick_begins_a_job_without_a_key(world: World) -> None:
    await world.declare(crm=DAILY)
    await world.run()
    due_at = await world.make_due()
    assert await world.run() == 1
    (job,) = await world.jobs()
    assert (job["kind"], job["dataset"], job["source"], job["mode"]) == ("sync", "people", "crm", "upsert")
    assert (job["api_key"], job["status"], job["target"]) == (None, "queued", "crm")
    assert await world.ticks() == [(due_at, "ran", job["id"])]
    found = await world.scheduled()
    assert found is not None
    assert found.next_at > await world.now()
    outbox_messages = await world.here.fetch("SELECT name, data FROM outbox ORDER BY name")
    assert [message["name"] for message in outbox_messages] == ["job.created", "pull_page"]
    assert PullPage.decode(outbox_messages[1]["data"]) == PullPage(
        dataset="people", job_id=job["id"], source="crm", chunk=1
    )
    assert await world.here.fetchval("SELECT array_agg(type) FROM events") == ["job.created"]


async def test_rows_without_a_key_are_appended(world: World) -> None:
    await world.declare(crm=DAILY)
    await world.admin.execute("UPDATE ingestor.datasets SET declaration = (declaration::jsonb - 'primary_key')::json")
    await world.run()
    await world.make_due()
    await world.run()
    (job,) = await world.jobs()
    assert job["mode"] == "append"


async def test_however_many_gateways_look_at_the_same_moment_a_tick_fires_once(world: World) -> None:
    await world.declare(crm=DAILY, shop=DAILY)
    await world.run()
    due = set()
    for number in range(ROUNDS):
        for source in ("crm", "shop"):
            due.add((source, await world.make_due(dt.timedelta(milliseconds=10), source)))
        looks = [scheduler.run(world.here if looker % 2 else world.there) for looker in range(LOOKERS)]
        assert sum(await asyncio.gather(*looks)) == 2, f"round {number}"
        await world.end_jobs()
    ticks = [(source, *tick) for source in ("crm", "shop") for tick in await world.ticks(source)]
    assert {(source, due_at) for source, due_at, *_ in ticks} == due
    assert {fate for _, _, fate, _ in ticks} == {"ran"}
    jobs = await world.jobs()
    assert {job for *_, job in ticks} == {job["id"] for job in jobs}
    assert len(jobs) == len(ticks) == 2 * ROUNDS
    assert await world.here.fetchval("SELECT count(*) FROM outbox WHERE name = 'pull_page'") == 2 * ROUNDS


async def test_a_gateway_that_fires_is_not_waited_for_and_if_it_dies_the_tick_is_not_lost(world: World) -> None:
    await world.declare(crm=DAILY)
    await world.run()
    due_at = await world.make_due()

    async def fire_and_die() -> None:
        async with transaction(world.there) as db:
            assert await scheduler.fire(db, "people", "crm")
            assert await asyncio.wait_for(world.run(), 10) == 0
            await db.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises((asyncpg.PostgresError, ConnectionError)):
        await fire_and_die()
    assert (await world.jobs(), await world.ticks()) == ([], [])
    assert await world.here.fetchval("SELECT count(*) FROM outbox") == 0
    assert await world.run() == 1
    (job,) = await world.jobs()
    assert await world.ticks() == [(due_at, "ran", job["id"])]


async def test_a_tick_that_is_decided_stays_so_even_if_it_seems_due_again(world: World) -> None:
    await world.declare(crm=DAILY)
    await world.run()
    due_at = await world.make_due()
    await world.run()
    await world.end_jobs()
    await world.admin.execute("UPDATE gateway.schedules SET next_at = $1", due_at)
    assert await world.run() == 0
    assert len(await world.jobs()) == len(await world.ticks()) == 1
    found = await world.scheduled()
    assert found is not None
    assert found.next_at > due_at


# What becomes of a tick


async def test_while_the_sync_before_it_goes_on_a_tick_is_skipped(world: World) -> None:
    await world.declare(crm=DAILY)
    await world.run()
    first = await world.make_due(dt.timedelta(seconds=5))
    await world.run()
    second = await world.make_due()
    assert await world.run() == 0
    (job,) = await world.jobs()
    assert await world.ticks() == [(first, "ran", job["id"]), (second, "skipped", job["id"])]
    await world.end_jobs()
    await world.make_due()
    assert await world.run() == 1


async def test_a_manual_sync_blocks_a_tick_too_and_one_of_another_source_does_not(world: World) -> None:
    await world.declare(crm=DAILY, shop=DAILY)
    await world.run()
    manual = await ask(world, "crm")
    await world.make_due(source="crm")
    await world.make_due(source="shop")
    assert await world.run() == 1
    assert [(fate, job) for _, fate, job in await world.ticks("crm")] == [("skipped", manual.job.id)]
    assert [fate for _, fate, _ in await world.ticks("shop")] == ["ran"]


async def test_where_overlaps_are_allowed_a_tick_runs_beside_the_one_before(world: World) -> None:
    await world.declare(crm={**DAILY, "overlap": "allow"})
    await world.run()
    manual = await ask(world, "crm")
    for seconds in (5, 1):
        await world.make_due(dt.timedelta(seconds=seconds))
        assert await world.run() == 1
    assert [fate for _, fate, _ in await world.ticks()] == ["ran", "ran"]
    assert len({job["id"] for job in await world.jobs() if job["status"] == "queued"} - {manual.job.id}) == 2


async def test_a_tick_that_comes_too_late_is_missed_and_the_schedule_goes_on(world: World) -> None:
    await world.declare(crm={**DAILY, "catch_up_seconds": 60})
    await world.run()
    due_at = await world.make_due(dt.timedelta(seconds=61))
    assert await world.run() == 0
    assert await world.ticks() == [(due_at, "missed", None)]
    assert await world.jobs() == []
    found = await world.scheduled()
    assert found is not None
    assert found.next_at > await world.now()


async def test_after_an_outage_the_last_tick_runs_and_the_others_are_missed(world: World) -> None:
    await world.declare(crm=MINUTELY)
    await world.run()
    await world.make_due(dt.timedelta(minutes=10))
    assert await world.run() == 1
    ticks = await world.ticks()
    assert [fate for _, fate, _ in ticks] == ["missed"] * (len(ticks) - 1) + ["ran"]
    assert 10 <= len(ticks) <= 12  # the first, then every full minute
    gaps = {later[0] - earlier[0] for earlier, later in itertools.pairwise(ticks[1:])}
    assert gaps == {dt.timedelta(minutes=1)}
    assert len(await world.jobs()) == 1


async def test_the_metric_counts_the_fates_of_the_ticks_of_the_last_hour(world: World) -> None:
    await world.declare(crm=DAILY)
    for ago in (7200, 1, 0):
        await world.run()
        await world.make_due(dt.timedelta(seconds=ago))
    await world.run()
    async with world.here.acquire() as db:
        assert await schedules.count_ticks(db) == {"ran": 1, "skipped": 1, "missed": 1}
    await world.admin.execute("UPDATE gateway.ticks SET decided_at = now() - interval '61 minutes'")
    async with world.here.acquire() as db:
        assert await schedules.count_ticks(db) == {"ran": 0, "skipped": 0, "missed": 0}


async def ask(world: World, source: str) -> Submission:
    """As a client would, who has a key."""
    await world.admin.execute("INSERT INTO gateway.api_keys VALUES ('k', 'k', '', 'write') ON CONFLICT DO NOTHING")
    command = PullPage(dataset="people", job_id=uuid7(), source=source, chunk=1)
    async with transaction(world.here) as db:
        (accepted,) = await submit_jobs(db, [sync_request(command, "upsert", api_key="k", idempotency_key=None)])
    assert isinstance(accepted, Submission)
    return accepted
