"""What becomes of declarations, from the catalog folder and over HTTP: tables that are made or changed."""

from pathlib import Path

import msgspec
import structlog

from services.ingestor import ddl
from services.ingestor.imports import load
from services.ingestor.parse import constraints
from services.ingestor.parse.constraints import BadConstraint
from services.ingestor.write import queries
from shared.bus.failures import PermanentFailure
from shared.catalog.dataset import Dataset
from shared.catalog.evolution import find_conflicts
from shared.catalog.files import BadDeclaration, read_datasets, to_dataset
from shared.contracts.commands import DeclareDataset
from shared.contracts.events import DatasetDeclared
from shared.contracts.message import Message
from shared.contracts.parts import Problem
from shared.db import Connection

log = structlog.get_logger()


async def declare_catalog(db: Connection, catalog: Path) -> list[Message]:
    """At start: applies the files that have changed since they were read last; what was declared since then stands.

    Raises BadDeclaration for a file that can't be used, or only by losing something.
    """
    await queries.lock_declarations(db)
    filed = await queries.select_filed(db)
    said: list[Message] = []
    for dataset in read_datasets(catalog):
        declaration = msgspec.json.decode(msgspec.json.encode(dataset))
        if filed.get(dataset.name) == declaration:
            continue
        standing = await queries.select_dataset(db, dataset.name)
        if standing is None or standing[0] != dataset:
            try:
                said.append(await _declare(db, standing, dataset))
            except BadDeclaration as error:
                lines = (f"dataset {dataset.name!r}: {line}" for line in str(error).splitlines())
                raise BadDeclaration("\n".join(lines)) from error
        await queries.update_filed(db, dataset.name, declaration)
        filed[dataset.name] = declaration
    for name in filed:
        load.show_zeros(name)
    return said


async def declare_dataset(command: DeclareDataset, db: Connection) -> DatasetDeclared | None:
    """Nothing if another declaration came first: the gateway saw what stood when it asked, and sees what stands now.

    Raises PermanentFailure for what the gateway should not have let through.
    """
    await queries.wait_briefly(db)
    await queries.lock_declarations(db)
    standing = await queries.select_dataset(db, command.dataset)
    revision = standing[1] if standing else 0
    if revision != command.follows:
        log.warning("another declaration came first", follows=command.follows, revision=revision)
        return None
    try:
        declared = await _declare(db, standing, to_dataset(command.dataset, command.declaration))
    except BadDeclaration as error:
        raise PermanentFailure(Problem(code="bad_declaration", detail=str(error))) from error
    load.show_zeros(command.dataset)
    return declared


async def _declare(db: Connection, standing: tuple[Dataset, int] | None, dataset: Dataset) -> DatasetDeclared:
    """Raises BadDeclaration before anything is changed."""
    try:
        constraints.checks(dataset, dataset.fields)
    except BadConstraint as error:
        raise BadDeclaration(str(error)) from error
    if standing is None:
        statements, revision = ddl.create(dataset), 1
    else:
        old, before = standing
        if refused := find_conflicts(old, dataset):
            raise BadDeclaration("\n".join(refused))
        statements, revision = ddl.evolve(old, dataset), before + 1
    await queries.upsert_dataset(db, dataset, revision, statements)
    log.info("declared", dataset=dataset.name, revision=revision)
    return DatasetDeclared(dataset=dataset.name, revision=revision)
