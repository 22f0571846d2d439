"""Cache of the dataset declarations, which the ingestor keeps in Postgres."""

import time

from services.gateway.http import problems
from shared.catalog.dataset import Dataset
from shared.db import Pool
from shared.reads.ingestor.datasets import CatalogEntry, select_entries

MAX_AGE_SECONDS = 2.0


class Catalog:
    """Reloads the declarations when they are older than two seconds or a name is missing."""

    def __init__(self) -> None:
        self._entries: dict[str, CatalogEntry] = {}
        self._read_at = 0.0

    async def entries(self, pool: Pool) -> dict[str, CatalogEntry]:
        """Returns all datasets by name, from the cache if it is fresh."""
        if time.monotonic() - self._read_at > MAX_AGE_SECONDS:
            await self.reload(pool)
        return self._entries

    async def dataset(self, pool: Pool, name: str) -> Dataset:
        """Returns a dataset. Raises Problem 404, which lists the known names."""
        entry = (await self.entries(pool)).get(name) or await self.latest(pool, name)
        if entry is None:
            names = ", ".join(sorted(self._entries))
            raise problems.not_found("dataset", name, hint=f"There are: {names}.")
        return entry.dataset

    async def latest(self, pool: Pool, name: str) -> CatalogEntry | None:
        """Returns a dataset as Postgres has it now, or None."""
        return (await self.reload(pool)).get(name)

    async def reload(self, pool: Pool) -> dict[str, CatalogEntry]:
        """Reads all datasets from Postgres and replaces the cache."""
        async with pool.acquire() as db:
            entries = await select_entries(db)
        for name, cached in self._entries.items():
            # With two concurrent reads, the one that started first may end last.
            if name in entries and entries[name].revision < cached.revision:
                entries[name] = cached
        self._entries, self._read_at = entries, time.monotonic()
        return entries
