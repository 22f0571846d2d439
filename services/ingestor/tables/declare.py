"""DeclareDataset and the catalog folder: creates and alters tables to fit their declarations."""

from pathlib import Path

import msgspec
import structlog

from services.ingestor import ddl
from services.ingestor.imports import close
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
    """Applies the files that changed since the last start; newer declarations over HTTP stay.

    Raises BadDeclaration for a file that is wrong, or that could only be applied by losing values.
    """
    await queries.lock_declarations(db)
    filed = await queries.select_filed_declarations(db)
    declared: list[Message] = []
    for dataset in read_datasets(catalog):
        declaration = msgspec.json.decode(msgspec.json.encode(dataset))
        if filed.get(dataset.name) == declaration:
            continue
        current = await queries.select_dataset(db, dataset.name)
        if current is None or current[0] != dataset:
            try:
                declared.append(await _declare(db, current, dataset))
            except BadDeclaration as error:
                lines = (f"dataset {dataset.name!r}: {line}" for line in str(error).splitlines())
                raise BadDeclaration("\n".join(lines)) from error
        await queries.update_filed_declaration(db, dataset.name, declaration)
        filed[dataset.name] = declaration
    for name in filed:
        close.init_metrics(name)
    return declared


async def declare_dataset(command: DeclareDataset, db: Connection) -> DatasetDeclared | None:
    """Returns None if another declaration came first, because the gateway has checked this one against the one before.

    Raises PermanentFailure for a declaration that the gateway should have refused.
    """
    await queries.limit_lock_waits(db)
    await queries.lock_declarations(db)
    current = await queries.select_dataset(db, command.dataset)
    revision = current[1] if current else 0
    if revision != command.follows:
        log.warning("another declaration came first", follows=command.follows, revision=revision)
        return None
    try:
        declared = await _declare(db, current, to_dataset(command.dataset, command.declaration))
    except BadDeclaration as error:
        raise PermanentFailure(Problem(code="bad_declaration", detail=str(error))) from error
    close.init_metrics(command.dataset)
    return declared


async def _declare(db: Connection, current: tuple[Dataset, int] | None, dataset: Dataset) -> DatasetDeclared:
    """Raises BadDeclaration before it changes anything."""
    try:
        constraints.build_checks(dataset, dataset.fields)
    except BadConstraint as error:
        raise BadDeclaration(str(error)) from error
    if current is None:
        statements, revision = ddl.create_table(dataset), 1
    else:
        old, before = current
        if reasons := find_conflicts(old, dataset):
            raise BadDeclaration("\n".join(reasons))
        statements, revision = ddl.alter_table(old, dataset), before + 1
    await queries.upsert_dataset(db, dataset, revision, statements)
    log.info("declared", dataset=dataset.name, revision=revision)
    return DatasetDeclared(dataset=dataset.name, revision=revision)
