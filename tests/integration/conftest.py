"""Fixtures of tests that talk to the servers themselves."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.probe import Probe, running
from tests.stack import Stack


@pytest.fixture
async def probe(stack: Stack, database: dict[str, str]) -> AsyncIterator[Probe]:
    """A consuming service whose handler does what a test says."""
    async with running(database["admin"], stack.env["BROKER_URL"]) as started:
        yield started
