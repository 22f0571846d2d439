"""Declares datasets: checks a declaration, sends it to the ingestor, and waits until its table is ready."""

import asyncio
import hashlib
import re

import msgspec

from services.gateway.catalog import Catalog
from services.gateway.http.polling import poll
from services.gateway.http.problems import Detail, Problem
from shared.bus import outbox
from shared.bus.relay import Relay
from shared.catalog.dataset import Dataset
from shared.catalog.evolution import find_conflicts
from shared.contracts.commands import DeclareDataset
from shared.db import Pool, transaction
from shared.reads.ingestor.datasets import CatalogEntry

WAIT_SECONDS = 10.0


def check(dataset: Dataset, current: CatalogEntry | None, if_match: str | None) -> None:
    """Raises Problem 412 if `if_match` does not match, 409 if the change would lose data."""
    if if_match is not None and not _matches(current, if_match):
        actual = f"revision {current.revision}" if current else "no revision"
        detail = f"If-Match requires {if_match}, but {dataset.name} has {actual}."
        raise Problem(
            412,
            "precondition_failed",
            detail,
            hint="Read the dataset again and apply your change to the current declaration.",
        )
    if current is not None and (reasons := find_conflicts(current.dataset, dataset)):
        raise Problem(
            409,
            "unsafe_change",
            f"{dataset.name} can't be changed like that: existing rows would not fit or would lose data.",
            hint="Declare a dataset with another name and import into it.",
            errors=[Detail(code="unsafe_change", detail=reason) for reason in reasons],
        )


async def send(pool: Pool, relay: Relay, dataset: Dataset, follows: int) -> None:
    """Sends the command that declares the dataset as the revision after `follows`."""
    declaration = to_declaration(dataset)
    digest = hashlib.sha256(msgspec.json.encode(declaration)).hexdigest()
    command = DeclareDataset(dataset=dataset.name, follows=follows, digest=digest, declaration=declaration)
    async with transaction(pool) as db:
        await outbox.insert_messages(db, [command])
    relay.wake()


async def follow(
    pool: Pool, catalog: Catalog, stopping: asyncio.Event, dataset: Dataset, follows: int
) -> CatalogEntry | None:
    """Waits for a revision after `follows`, or returns None. Raises Problem 409 if it is another declaration."""

    async def look() -> CatalogEntry | None:
        current = await catalog.latest(pool, dataset.name)
        return current if current is not None and current.revision > follows else None

    current = await poll(look, lambda found: found is not None, seconds=WAIT_SECONDS, stopping=stopping)
    if current is not None and current.dataset != dataset:
        detail = f"{dataset.name} was declared by another request in the meantime: revision {current.revision}."
        raise Problem(
            409, "conflict", detail, hint="Read the dataset and apply your change to the current declaration."
        )
    return current


def to_declaration(dataset: Dataset) -> dict[str, object]:
    """Returns the declaration as JSON, without the name, which is in the path."""
    declaration: dict[str, object] = msgspec.to_builtins(dataset)
    declaration.pop("name")
    return declaration


def _matches(current: CatalogEntry | None, if_match: str) -> bool:
    if current is None:
        return False
    return if_match.strip() == "*" or str(current.revision) in re.findall(r'(?<!W/)"([^"]*)"', if_match)
