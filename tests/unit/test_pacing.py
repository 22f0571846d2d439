"""Asking no more often than a source allows, without a clock."""

import asyncio
import time

import pytest

from shared.outgoing.http_client import OutboundClient


async def test_each_host_is_asked_so_often_and_not_more(monkeypatch: pytest.MonkeyPatch) -> None:
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
