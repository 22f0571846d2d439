"""Fake source and dictionary for one test: the sandbox, in this process and on its own port."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
from granian.constants import Interfaces
from granian.server.embed import Server

from sandbox.app import build
from sandbox.faults import Fault, Faults
from sandbox.world import World
from shared.outgoing.http_client import OutboundClient
from tests.stack import free_port
from tests.waiting import eventually

HOST = "127.0.0.1"
TOKEN = "the-crm's-own-token"
SECONDS = 20.0


class FakeSource:
    """The running sandbox: its address, its requests and its faults."""

    def __init__(self, port: int, world: World, faults: Faults) -> None:
        self.place = f"{HOST}:{port}"
        self.url = f"http://{self.place}"
        self.world = world
        self._faults = faults

    def add_fault(self, **fault: Any) -> None:
        """Adds a fault, with the fields of `sandbox.faults.Fault`."""
        self._faults.add(Fault(**fault))

    def clear_faults(self) -> None:
        """Removes all faults."""
        self._faults.clear()

    def take_requests(self) -> list[str]:
        """Returns the requests since the last call."""
        requests = list(self.world.requests)
        self.world.requests.clear()
        return requests

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of an ingestor that pulls from this server."""
        names = ("CUSTOMERS", "CRM", "PARAGRAPHS", "WAREHOUSE", "DICTIONARY")
        return {**{f"SOURCE_{name}": self.url for name in names}, "SECRET_CRM_TOKEN": TOKEN}

    def client(self) -> OutboundClient:
        """Returns an outbound client that may connect to this server."""
        return OutboundClient(self.place, self.environment)


@contextlib.asynccontextmanager
async def run_fake_source() -> AsyncIterator[FakeSource]:
    """Runs a fake source until the end of the block."""
    port = free_port()
    app = build(TOKEN)
    server = Server(app, address=HOST, port=port, interface=Interfaces.ASGI, log_enabled=False)
    serving = asyncio.create_task(server.serve())
    fake_source = FakeSource(port, app.state.world, app.state.faults)

    async def answers() -> bool:
        async with httpx2.AsyncClient() as client:
            with contextlib.suppress(httpx2.ConnectError):
                return (await client.get(f"{fake_source.url}/health/ready")).is_success
        return False

    try:
        await eventually(answers, SECONDS)
        yield fake_source
    finally:
        server.stop()  # type: ignore[no-untyped-call] # granian has no annotation here
        await serving
