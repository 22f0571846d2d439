"""Subscriptions: queues that are lost come back, a service that hears nothing says so, SIGTERM hands work back."""

import asyncio
import time
from collections.abc import Callable

import aio_pika
import asyncpg
import pytest
import structlog

from shared.bus import subscriptions, topology
from shared.bus.broker import cancel_consumers
from shared.db import Connection
from tests.integration.probe_service import SECONDS, SERVICE, Probe, Touch, running
from tests.stack import Stack
from tests.waiting import eventually

OTHER_ARGUMENTS = {"x-queue-type": "quorum", "x-delivery-limit": topology.DELIVERY_LIMIT}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks more often, and waits less for a recovery."""
    monkeypatch.setattr(subscriptions, "INTERVAL_SECONDS", 0.2)
    monkeypatch.setattr(subscriptions, "RETRY_SECONDS", 0.2)
    monkeypatch.setattr(subscriptions, "DEAF_SECONDS", 1.0)


async def broker_is(probe: Probe, expected: Callable[[str], bool]) -> None:
    """Waits until readiness says so of the broker."""

    async def as_expected() -> bool:
        return expected((await probe.consumer.check())["broker"])

    await eventually(as_expected, SECONDS)


async def delete_queue(stack: Stack, name: str) -> None:
    async with await aio_pika.connect(stack.env["BROKER_URL"]) as connection:
        await (await connection.channel()).queue_delete(name)


async def test_a_deleted_queue_comes_back_with_its_binding_and_its_consumer(stack: Stack, probe: Probe) -> None:
    assert await probe.consumer.check() == {"database": "ok", "broker": "ok", "outbox": "ok"}
    await delete_queue(stack, probe.queue)
    await broker_is(probe, lambda state: state == f"no consumers: {probe.queue}")
    await broker_is(probe, lambda state: state == "ok")
    await probe.say(probe.touch())
    await probe.handled(1)


@pytest.mark.usefixtures("quick")
async def test_a_connection_without_consumers_is_replaced(probe: Probe) -> None:
    deaf = probe.consumer.subscriptions._broker
    assert deaf is not None
    await cancel_consumers(deaf)
    await broker_is(probe, lambda state: state.startswith("no consumers: "))
    await broker_is(probe, lambda state: state == "ok")
    await probe.say(probe.touch())
    await probe.handled(1)


async def test_a_queue_with_other_arguments_keeps_them_and_is_consumed(
    stack: Stack, database: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topology, "_arguments", lambda: OTHER_ARGUMENTS)
    async with running(database["admin"], stack.env["BROKER_URL"]) as probe:
        monkeypatch.undo()
        with structlog.testing.capture_logs() as logs:
            await topology.declare(stack.env["BROKER_URL"], {SERVICE: probe.consumer.routes})
        expected = [queue for route in probe.consumer.routes for queue in route.queues(SERVICE).values()]
        assert [line["queue"] for line in logs] == expected
        await probe.say(probe.touch())
        await probe.handled(1)


async def test_shutdown_waits_for_handlers_for_a_while_and_hands_back_what_they_leave(
    stack: Stack, database: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "DRAIN_SECONDS", 1.0)

    async def work(command: Touch, db: Connection) -> None:
        await db.execute("SELECT pg_sleep($1)", 0.5 if command.number == 1 else 60.0)

    async with running(database["admin"], stack.env["BROKER_URL"]) as probe:
        probe.script.steps = [work]
        await probe.deliver(probe.touch(1))
        await probe.deliver(probe.touch(2))
        await probe.called(2)
        began = time.monotonic()
        probe.consumer.stopping.set()
        await probe.deliver(probe.touch(3))  # nobody takes it any more

        async def ended() -> bool:
            return not any(delivery.running for delivery in probe.consumer.deliveries)

        await eventually(ended, SECONDS)
        assert 1.0 <= time.monotonic() - began < 4.0
        assert await probe.marks() == {1: 1}
        assert probe.script.cancelled == 1
        await probe.consumer.subscriptions.close()

        async def handed_back() -> bool:
            return await probe.waiting() == 2

        await eventually(handed_back, SECONDS)


async def test_a_service_waits_for_its_tables(stack: Stack, database: dict[str, str]) -> None:
    service = asyncio.create_task(start_without_tables(stack, database["admin"]))
    admin = await asyncpg.connect(database["admin"])
    try:

        async def tried() -> bool:
            return bool(
                await admin.fetchval(
                    "SELECT count(*) > 0 FROM pg_stat_activity"
                    " WHERE application_name LIKE 'millrace probe%' AND datname = current_database()"
                )
            )

        await eventually(tried, SECONDS)
        await asyncio.wait([service], timeout=0)
        assert not service.done()
        await admin.execute("ALTER SCHEMA later RENAME TO probe")
        await asyncio.wait_for(service, SECONDS)
    finally:
        service.cancel()
        await admin.close()


async def start_without_tables(stack: Stack, url: str) -> None:
    async with running(url, stack.env["BROKER_URL"], schema="later") as probe:
        await probe.say(probe.touch())
        await probe.handled(1)


@pytest.mark.parametrize("error", ["disk_full", "read_only_sql_transaction"])
async def test_the_relay_waits_for_a_postgres_that_refuses_to_write(probe: Probe, error: str) -> None:
    await probe.consumer.pool.execute(
        f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '{error}'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE OR DELETE ON outbox FOR EACH STATEMENT EXECUTE FUNCTION refuse();
        """
    )
    await probe.say(probe.touch())

    async def says_so() -> bool:
        return (await probe.consumer.check())["outbox"].endswith(": not now")

    await eventually(says_so, SECONDS)
    await probe.consumer.pool.execute("DROP TRIGGER refuse ON outbox")
    await probe.is_idle()
    assert await probe.marks() == {1: 1}
    assert (await probe.consumer.check())["outbox"] == "ok"
