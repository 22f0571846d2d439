"""A declaration on its way to the ingestor, which makes the tables."""

import asyncio
import hashlib
import re

import msgspec

from services.gateway.catalog import Catalog, Declared
from services.gateway.http.polling import poll
from services.gateway.http.problems import Detail, Problem
from shared.bus import outbox
from shared.bus.relay import Relay
from shared.catalog.dataset import Dataset
from shared.catalog.evolution import find_conflicts
from shared.contracts.commands import DeclareDataset
from shared.db import Pool, transaction

PATIENCE_SECONDS = 10.0


def check(dataset: Dataset, standing: Declared | None, if_match: str | None) -> None:
    """Raises Problem 412 if something else stands than the client thinks, 409 if the change would lose something."""
    if if_match is not None and not _matches(standing, if_match):
        stands = f"revision {standing.revision}" if standing else "no declaration"
        detail = f"If-Match asks for {if_match}, but {stands} of {dataset.name} stands."
        raise Problem(
            412, "precondition_failed", detail, hint="Read it again, and put your change to what it says now."
        )
    if standing is not None and (reasons := find_conflicts(standing.dataset, dataset)):
        raise Problem(
            409,
            "unsafe_change",
            f"{dataset.name} can't be changed like that: the rows that it has would not fit, or lose something.",
            hint="Declare a dataset of another name and import into that.",
            errors=[Detail(code="unsafe_change", detail=reason) for reason in reasons],
        )


async def send(pool: Pool, relay: Relay, dataset: Dataset, follows: int) -> None:
    """The command to declare it as the revision after `follows`."""
    declaration = to_declaration(dataset)
    digest = hashlib.sha256(msgspec.json.encode(declaration)).hexdigest()
    command = DeclareDataset(dataset=dataset.name, follows=follows, digest=digest, declaration=declaration)
    async with transaction(pool) as db:
        await outbox.insert_messages(db, [command])
    relay.wake()


async def follow(
    pool: Pool, catalog: Catalog, stopping: asyncio.Event, dataset: Dataset, follows: int
) -> Declared | None:
    """As it stands once it does; None if it takes too long. Raises Problem 409 if another declaration does."""

    async def look() -> Declared | None:
        standing = await catalog.standing(pool, dataset.name)
        return standing if standing is not None and standing.revision > follows else None

    standing = await poll(look, lambda found: found is not None, seconds=PATIENCE_SECONDS, stopping=stopping)
    if standing is not None and standing.dataset != dataset:
        detail = f"Another declaration of {dataset.name} stands now: revision {standing.revision}."
        raise Problem(409, "conflict", detail, hint="Read it, and put your change to what it says now.")
    return standing


def to_declaration(dataset: Dataset) -> dict[str, object]:
    """As JSON has it; the name stands in its path."""
    declaration: dict[str, object] = msgspec.to_builtins(dataset)
    declaration.pop("name")
    return declaration


def _matches(standing: Declared | None, if_match: str) -> bool:
    if standing is None:
        return False
    return if_match.strip() == "*" or str(standing.revision) in re.findall(r'(?<!W/)"([^"]*)"', if_match)
