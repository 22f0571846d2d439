"""Conventions: sizes of files, parts of a service, which modules use which driver."""

import pytest

from tests.architecture.sources import FOLDERS, importers, sources
from tests.stack import ROOT, SERVICES

MOST_LINES = 250
PARTS = ("__init__.py", "__main__.py", "app.py", "settings.py")


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_is_longer_than_one_can_read(folder: str) -> None:
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path in sources(folder)}
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES} == {}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_its_parts(service: str) -> None:
    folder = ROOT / "services" / service
    assert [part for part in PARTS if not (folder / part).is_file()] == []
    assert list((folder / "migrations").glob("0001_*.sql"))


@pytest.mark.parametrize("service", SERVICES)
def test_migrations_are_numbered_without_a_gap_and_every_table_says_its_role(service: str) -> None:
    files = sorted((ROOT / "services" / service / "migrations").iterdir())
    assert [file.name[:5] for file in files] == [f"{number:04}_" for number in range(1, len(files) + 1)]
    for file in files:
        lines = file.read_text().splitlines()
        for before, line in zip(["", *lines], lines, strict=False):
            assert not line.startswith("CREATE TABLE") or before.startswith("-- "), f"{file.name}: {line}"


def test_only_the_queries_know_asyncpg() -> None:
    allowed = {path for path in sources("shared/db", "services") if path.startswith("shared/db/")}
    allowed |= {"services/ingestor/write/queries.py"}
    assert importers("asyncpg") - allowed == set()


def test_only_the_bus_knows_rabbitmq() -> None:
    allowed = {path for path in sources("shared") if path.startswith("shared/bus/")} | {"shared/consumer.py"}
    assert importers("faststream") - allowed == set()
    assert importers("aio_pika") - allowed == set()
    allowed |= {"deploy/topology.py"}  # it raises their errors
    assert importers("aiormq") - allowed == set()
    assert importers("pamqp") - allowed == set()


def test_the_places_where_these_are_known_are_found_at_all() -> None:
    assert "shared/db/pool.py" in importers("asyncpg")
    assert "shared/bus/broker.py" in importers("faststream")
    assert "shared/bus/publisher.py" in importers("aio_pika")


def test_the_contracts_need_msgspec_alone() -> None:
    known = {"msgspec", "shared", "uuid", "datetime", "functools", "re", "typing"}
    for path in sources("shared/contracts"):
        tree = (ROOT / path).read_text()
        lines = [line for line in tree.splitlines() if line.startswith(("import ", "from "))]
        assert {line.split()[1].split(".")[0] for line in lines} <= known, path
