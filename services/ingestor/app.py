"""The ingestor: loads files, batches and sources into tables; rows that fail a check become failed rows."""

import os
from functools import partial
from pathlib import Path

from litestar import Litestar

from services.ingestor.imports.load import load_chunk, load_rows
from services.ingestor.imports.plan import plan_import
from services.ingestor.imports.replace import swap_stage
from services.ingestor.imports.replay import discard_rows, plan_replay
from services.ingestor.retention import RETENTIONS
from services.ingestor.settings import IngestorSettings
from services.ingestor.sources.pull import pull_page
from services.ingestor.sources.turns import HostTurns
from services.ingestor.tables.declare import declare_catalog, declare_dataset
from services.ingestor.tables.detach import detach_partition, plan_detach
from shared.bus import dead_letters
from shared.bus.periodic import PeriodicTask
from shared.bus.routes import on
from shared.consumer import Consumer, operations_app
from shared.contracts.commands import (
    DeclareDataset,
    DetachPartition,
    DiscardRows,
    LoadChunk,
    LoadRows,
    PlanDetach,
    PlanImport,
    PlanReplay,
    PullPage,
    SwapStage,
)
from shared.contracts.events import (
    ChunkLoaded,
    DatasetDeclared,
    ImportPlanned,
    ImportRejected,
    ImportStopped,
    SourcePulled,
)
from shared.outgoing.http_client import OutboundClient
from shared.retention import EVERY_SECONDS, RetentionTask
from shared.spool import Spool

AT_ONCE = max(2, os.cpu_count() or 1)
"""Chunks to load in parallel, each on its own connection: Postgres writes one while another is parsed."""
TOGETHER = 400
"""Batches to load in one transaction."""
SOURCES_AT_ONCE = 6
"""Hosts of sources that may be slow at the same time. Each holds a connection: see `database_connections`."""

ROUTES = (
    on(DeclareDataset, declare_dataset, then=DatasetDeclared),
    on(PlanImport, plan_import, then=LoadChunk | SwapStage | ImportPlanned | ImportRejected),
    on(LoadChunk, load_chunk, then=ChunkLoaded | SwapStage | ImportStopped, concurrency=AT_ONCE),
    on(SwapStage, swap_stage, then=ChunkLoaded | ImportStopped),
    on(LoadRows, load_rows, then=ChunkLoaded | SwapStage | ImportStopped, concurrency=AT_ONCE, together=TOGETHER),
    on(PullPage, pull_page, then=PullPage | ChunkLoaded | SourcePulled | ImportStopped, concurrency=SOURCES_AT_ONCE),
    on(PlanReplay, plan_replay, then=LoadChunk | ImportPlanned),
    on(DiscardRows, discard_rows),
    on(PlanDetach, plan_detach, then=DetachPartition | ImportPlanned),
    on(DetachPartition, detach_partition, then=ChunkLoaded),
    *dead_letters.ROUTES,
)


def build(settings: IngestorSettings) -> Litestar:
    """Returns the service, ready to run."""
    return operations_app(
        Consumer(
            "ingestor",
            ROUTES,
            settings=settings,
            dependencies={
                Spool: Spool(settings.spool_url),
                OutboundClient: OutboundClient(settings.source_allow, os.environ),
                HostTurns: HostTurns(),
                IngestorSettings: settings,
            },
            start=partial(declare_catalog, catalog=Path(settings.catalog_dir)),
            periodic=(PeriodicTask(RetentionTask("ingestor", RETENTIONS, settings).run, EVERY_SECONDS),),
        )
    )
