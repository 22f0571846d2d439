"""The ingestor: files become checked rows, and rows that can't be become failed rows."""

from functools import partial
from pathlib import Path

from litestar import Litestar

from services.ingestor.handlers import declare_catalog, load_chunk, plan_import, resend_overdue
from services.ingestor.settings import IngestorSettings
from shared.bus.routes import on
from shared.consumer import Consumer, operations_app
from shared.contracts.commands import LoadChunk, PlanImport
from shared.contracts.events import ChunkLoaded, ImportPlanned, ImportRejected
from shared.spool import Spool

ROUTES = (
    on(PlanImport, plan_import, then=LoadChunk | ImportPlanned | ImportRejected),
    on(LoadChunk, load_chunk, then=ChunkLoaded, at_once=2),
)


def build(told: IngestorSettings) -> Litestar:
    """The service, ready to run."""
    return operations_app(
        Consumer(
            "ingestor",
            ROUTES,
            told=told,
            given={Spool: Spool(told.spool_url), IngestorSettings: told},
            start=partial(declare_catalog, catalog=Path(told.catalog_dir)),
            sweep=resend_overdue,
        )
    )
