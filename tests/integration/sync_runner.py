"""Runs syncs without a broker: calls `pull_page` until the source has no more pages."""

from typing import Any
from uuid import UUID, uuid4

import msgspec

from services.ingestor.settings import IngestorSettings
from services.ingestor.sources.pull import pull_page
from services.ingestor.sources.turns import HostTurns
from shared.bus import inbox
from shared.catalog.dataset import Dataset
from shared.contracts.commands import PullPage
from shared.contracts.events import ChunkLoaded, ImportStopped, SourcePulled
from shared.contracts.message import Message
from shared.contracts.parts import Outcome
from shared.outgoing.http_client import OutboundClient
from tests.integration.ingestor_runner import Ingestor, total

SETTINGS = IngestorSettings(database_url="", broker_url="", spool_url="")
MOST_CHUNKS = 100


class Sync:
    """One job of kind `sync`; what was said about it stands in `said`."""

    def __init__(self, ingestor: Ingestor, outgoing: OutboundClient, dataset: str, source: str) -> None:
        self.messages: list[Message] = []
        self.job_id: UUID = uuid4()
        self.next: PullPage | None = PullPage(dataset=dataset, job_id=self.job_id, source=source, chunk=1)
        self._ingestor = ingestor
        self._outgoing = outgoing
        self._turns = HostTurns()

    async def pull(self, command: PullPage) -> list[Message]:
        """One delivery of the command: nothing if it was heard before. Raises whatever the handler raises."""
        async with self._ingestor.transaction() as db:
            if not await inbox.claim(db, command.id, command.name()):
                return []
            return [*await pull_page(command, db, self._outgoing, self._turns, SETTINGS)]

    async def step(self) -> None:
        """The next command."""
        assert self.next is not None
        messages = await self.pull(self.next)
        self.messages += messages
        self.next = next((message for message in messages if isinstance(message, PullPage)), None)

    async def finish(self) -> "Sync":
        """All that is left."""
        for _ in range(MOST_CHUNKS):
            if self.next is None:
                return self
            await self.step()
        raise AssertionError("it never ends")

    @property
    def loaded(self) -> list[ChunkLoaded]:
        """In the order of the chunks."""
        return [message for message in self.messages if isinstance(message, ChunkLoaded)]

    @property
    def outcome(self) -> Outcome:
        """Of all chunks together."""
        return total(self.loaded)

    @property
    def pulled(self) -> SourcePulled:
        """The end, which holds what it says about the chunks before it."""
        (event,) = (message for message in self.messages if isinstance(message, SourcePulled))
        assert [chunk.chunk for chunk in self.loaded] == list(range(1, event.chunks + 1))
        assert event.bytes == sum(chunk.bytes for chunk in self.loaded)
        return event

    @property
    def warning(self) -> str:
        """Its code, or nothing."""
        return self.pulled.warning.code if self.pulled.warning else ""

    @property
    def stopped(self) -> ImportStopped:
        """The end of a sync that was given up."""
        (event,) = (message for message in self.messages if isinstance(message, ImportStopped))
        return event


async def redeclare(ingestor: Ingestor, dataset: Dataset, **changes: Any) -> None:
    """Its first source, changed."""
    source = msgspec.structs.replace(dataset.sources[0], **changes)
    changed = msgspec.structs.replace(dataset, sources=(source,))
    async with ingestor.transaction() as db:
        await db.execute(
            "UPDATE datasets SET declaration = $2 WHERE name = $1", dataset.name, msgspec.to_builtins(changed)
        )
