"""The rate limit of outbound requests, without a clock."""

import asyncio
import time

import pytest

from shared.outgoing.http_client import OutboundClient


async def test_requests_to_each_host_keep_to_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    out = OutboundClient("", {})
    for _ in range(2):  # two syncs of the same source
        async with out.session() as session:
            for _ in range(2):
                await session.wait_for_turn("there.example", 0.5)
    async with out.session() as session:
        await session.wait_for_turn("elsewhere.example", 0.5)
    assert slept == [0, 2, 4, 6, 0]
