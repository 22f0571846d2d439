"""The outside world for one test: the sandbox, in this process and on a port of its own."""

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


class Outside:
    """The sandbox as tests direct it."""

    def __init__(self, port: int, world: World, faults: Faults) -> None:
        self.place = f"{HOST}:{port}"
        self.url = f"http://{self.place}"
        self.world = world
        self._faults = faults

    def misbehave(self, **fault: Any) -> None:
        """See sandbox.faults.Fault."""
        self._faults.add(Fault(**fault))

    def behave(self) -> None:
        """Again."""
        self._faults.clear()

    def asked(self) -> list[str]:
        """The requests since the last time."""
        asked = list(self.world.requests)
        self.world.requests.clear()
        return asked

    @property
    def environment(self) -> Mapping[str, str]:
        """What an ingestor is told that pulls from here."""
        names = ("CUSTOMERS", "CRM", "PARAGRAPHS", "WAREHOUSE", "DICTIONARY")
        return {**{f"SOURCE_{name}": self.url for name in names}, "SECRET_CRM_TOKEN": TOKEN}

    def outgoing(self) -> OutboundClient:
        """A way out that leads here."""
        return OutboundClient(self.place, self.environment)


@contextlib.asynccontextmanager
async def sandboxed() -> AsyncIterator[Outside]:
    """Until the end of the block."""
    port = free_port()
    app = build(TOKEN)
    server = Server(app, address=HOST, port=port, interface=Interfaces.ASGI, log_enabled=False)
    serving = asyncio.create_task(server.serve())
    outside = Outside(port, app.state.world, app.state.faults)

    async def answers() -> bool:
        async with httpx2.AsyncClient() as client:
            with contextlib.suppress(httpx2.ConnectError):
                return (await client.get(f"{outside.url}/health/ready")).is_success
        return False

    try:
        await eventually(answers, SECONDS)
        yield outside
    finally:
        server.stop()  # type: ignore[no-untyped-call] # granian has no annotation here
        await serving
