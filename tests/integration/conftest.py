"""Fixtures of integration tests: databases, and the handlers of each service."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

import services.gateway.app  # noqa: F401 - its features register the kinds of job
from services.ingestor.write import merge
from shared.db import Pool
from tests.conftest import database_like, named
from tests.integration import probe_service
from tests.integration.ingestor_runner import DATASETS, Ingestor, connected, ingesting
from tests.integration.probe_service import Probe, running
from tests.integration.reader_runners import Analytics, Indexer
from tests.integration.search_setup import SearchEngine
from tests.stack import Stack


@pytest.fixture(scope="session")
async def declared(stack: Stack, migrated: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The name of a database to copy, in which the catalog is declared and can be searched."""
    async with database_like(stack, migrated) as urls:
        admin = await asyncpg.connect(urls["admin"])
        async with ingesting(urls, tmp_path_factory.mktemp("declared")), connected(urls["indexer"], "indexer") as pool:
            indexer = Indexer(pool, admin)
            for name in DATASETS:
                await indexer.prepare(name)
        await admin.close()
        yield named(urls)


@pytest.fixture
async def database(
    request: pytest.FixtureRequest, stack: Stack, migrated: str, declared: str
) -> AsyncIterator[dict[str, str]]:
    """As elsewhere; with the catalog declared already if the ingestor is wanted, who would do that first."""
    async with database_like(stack, declared if "ingestor" in request.fixturenames else migrated) as urls:
        yield urls


@pytest.fixture(params=[probe_service.SINGLY, probe_service.TOGETHER], ids=["singly", "together"])
async def probe(request: pytest.FixtureRequest, stack: Stack, database: dict[str, str]) -> AsyncIterator[Probe]:
    """A consuming service whose handler does what a test says. It takes messages one by one, or in groups."""
    async with running(database["admin"], stack.env["BROKER_URL"], routes=request.param) as started:
        yield started


@pytest.fixture
async def ingestor(
    database: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Ingestor]:
    """The ingestor's handlers on a database of their own, with the catalog declared."""
    # Here chunks are most often loaded one after the other: waiting for an earlier one would be in vain.
    monkeypatch.setattr(merge, "LONGEST_WAIT_SECONDS", 0.0)
    async with ingesting(database, tmp_path) as started:
        yield started


@pytest.fixture
async def analytics(database: dict[str, str], ingestor: Ingestor) -> AsyncIterator[Analytics]:
    del ingestor  # which has declared the catalog
    admin = await asyncpg.connect(database["admin"])
    async with connected(database["analytics"], "analytics") as pool:
        analytics = Analytics(pool, admin)
        for name in DATASETS:
            await analytics.prepare(name)
        yield analytics
    await admin.close()


@pytest.fixture
async def indexer(database: dict[str, str], ingestor: Ingestor) -> AsyncIterator[Indexer]:
    del ingestor  # which has declared the catalog
    admin = await asyncpg.connect(database["admin"])
    async with connected(database["indexer"], "indexer") as pool:
        yield Indexer(pool, admin)
    await admin.close()


@pytest.fixture
async def gateway(database: dict[str, str]) -> AsyncIterator[Pool]:
    """What the gateway may read."""
    async with connected(database["gateway"], "gateway") as pool:
        yield pool


@pytest.fixture
def engine(ingestor: Ingestor, indexer: Indexer, gateway: Pool) -> SearchEngine:
    """A search engine without a dataset."""
    return SearchEngine(ingestor, indexer, gateway)
