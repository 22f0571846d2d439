"""The datasets that the ingestor has made tables for."""

import time

import msgspec

from services.gateway.http import problems
from shared.catalog.dataset import Dataset
from shared.db import Connection, Pool

FRESH_SECONDS = 2.0


class Declared(msgspec.Struct, frozen=True):
    """A dataset with the revision of its declaration and the version of its rows."""

    dataset: Dataset
    revision: int
    version: int


class Catalog:
    """Reads the declarations again when they are older than two seconds, or when a name is not among them."""

    def __init__(self) -> None:
        self._datasets: dict[str, Declared] = {}
        self._read_at = 0.0

    async def datasets(self, pool: Pool) -> dict[str, Declared]:
        """All, by name."""
        if time.monotonic() - self._read_at > FRESH_SECONDS:
            await self.read(pool)
        return self._datasets

    async def dataset(self, pool: Pool, name: str) -> Dataset:
        """Raises Problem 404, which names those that there are."""
        found = (await self.datasets(pool)).get(name) or (await self.read(pool)).get(name)
        if found is None:
            known = ", ".join(sorted(self._datasets))
            raise problems.not_found("dataset", name, hint=f"There are: {known}.")
        return found.dataset

    async def standing(self, pool: Pool, name: str) -> Declared | None:
        """As Postgres has it at this moment."""
        return (await self.read(pool)).get(name)

    async def read(self, pool: Pool) -> dict[str, Declared]:
        """All, as Postgres has them at this moment; from now on, nothing older is told here."""
        async with pool.acquire() as db:
            found = await _select_datasets(db)
        for name, known in self._datasets.items():
            # Of two reads at once, the one that began first may end last.
            if name in found and found[name].revision < known.revision:
                found[name] = known
        self._datasets, self._read_at = found, time.monotonic()
        return found


async def _select_datasets(db: Connection) -> dict[str, Declared]:
    rows = await db.fetch("SELECT name, declaration, revision, version FROM ingestor.datasets ORDER BY name")
    return {
        row["name"]: Declared(msgspec.convert(row["declaration"], Dataset), row["revision"], row["version"])
        for row in rows
    }
