"""Queries about declared datasets."""

from typing import Literal

import msgspec

from shared.catalog.dataset import Dataset
from shared.db import Connection


class CatalogEntry(msgspec.Struct, frozen=True):
    """A dataset with the revision of its declaration and the version of its rows."""

    dataset: Dataset
    revision: int
    version: int


async def select_dataset(db: Connection, name: str) -> Dataset:
    """Returns the declaration of the dataset's table. Raises LookupError."""
    declaration = await db.fetchval("SELECT declaration FROM ingestor.datasets WHERE name = $1", name)
    if declaration is None:
        raise LookupError(f"dataset {name} is not declared")
    return msgspec.convert(declaration, Dataset)


async def select_entries(db: Connection) -> dict[str, CatalogEntry]:
    """Selects all datasets by name."""
    rows = await db.fetch("SELECT name, declaration, revision, version FROM ingestor.datasets ORDER BY name")
    return {
        row["name"]: CatalogEntry(msgspec.convert(row["declaration"], Dataset), row["revision"], row["version"])
        for row in rows
    }


async def select_with_dictionary(db: Connection) -> list[tuple[Dataset, int]]:
    """Selects datasets that declare a dictionary, with their versions."""
    rows = await db.fetch(
        "SELECT declaration, version FROM ingestor.datasets WHERE declaration->'dictionary' IS NOT NULL ORDER BY name"
    )
    return [(msgspec.convert(row["declaration"], Dataset), row["version"]) for row in rows]


async def select_version(db: Connection, dataset: str) -> int:
    """Returns the version of the dataset's rows."""
    version: int = await db.fetchval("SELECT version FROM ingestor.datasets WHERE name = $1", dataset)
    return version


async def select_since(db: Connection, dataset: str, declared: Literal["searched", "counted"]) -> int:
    """Returns the version from which on the dataset declares search, or rollups, without a break.

    An index or a rollup that was built from an earlier version may lack chunks.
    """
    version: int = await db.fetchval(f"SELECT {declared}_since FROM ingestor.datasets WHERE name = $1", dataset)
    return version
