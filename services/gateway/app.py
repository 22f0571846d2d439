"""The gateway: accepts work, tells how it goes, and answers questions about what was loaded."""

from functools import partial
from pathlib import Path

from litestar import Litestar
from litestar.di import Provide
from litestar.middleware import DefineMiddleware

from services.gateway import docs, ticking
from services.gateway.accepting import Accepting
from services.gateway.access import Authentication, guard, refuse_unknown_parameters
from services.gateway.catalog import Catalog
from services.gateway.downloads import Downloads
from services.gateway.handlers import (
    follow_counted,
    follow_failure,
    follow_indexed,
    follow_loaded,
    follow_planned,
    follow_pulled,
    follow_rejected,
    follow_searched,
    follow_stopped,
    show_zeros,
    sweep,
)
from services.gateway.kept import Kept
from services.gateway.lingering import linger
from services.gateway.measures import measure
from services.gateway.problems import to_response
from services.gateway.refreshing import follow_rebuilt, follow_refreshed
from services.gateway.reports import EVERY_SECONDS, Reports
from services.gateway.routes import (
    batches,
    datasets,
    events,
    failed_rows,
    imports,
    index,
    jobs,
    partitions,
    refreshes,
    replays,
    reports,
    rollups,
    rows,
    schedules,
    search,
    searches,
    syncs,
    words,
)
from services.gateway.settings import GatewaySettings
from shared.bus.clock import Clock
from shared.bus.routes import on
from shared.consumer import Consumer
from shared.contracts.commands import RefreshReport
from shared.contracts.events import (
    ChunkCounted,
    ChunkIndexed,
    ChunkLoaded,
    ImportPlanned,
    ImportRejected,
    ImportStopped,
    JobFailed,
    JobPartial,
    JobProgress,
    JobStarted,
    JobSucceeded,
    ReportRefreshed,
    RollupRebuilt,
    SearchCompleted,
    SourcePulled,
    WorkFailed,
)
from shared.spool import Spool
from shared.telemetry import operations

TOLD = JobStarted | JobProgress | JobSucceeded | JobPartial | JobFailed

ROUTES = (
    on(ImportPlanned, follow_planned, then=TOLD),
    on(ImportRejected, follow_rejected, then=TOLD),
    on(ImportStopped, follow_stopped, then=TOLD),
    on(SourcePulled, follow_pulled, then=TOLD),
    on(ChunkLoaded, follow_loaded, then=TOLD, at_once=4),
    on(ChunkIndexed, follow_indexed, then=TOLD, at_once=4),
    on(ChunkCounted, follow_counted, then=TOLD, at_once=4),
    on(SearchCompleted, follow_searched, then=TOLD),
    on(ReportRefreshed, follow_refreshed, then=TOLD | RefreshReport),
    on(RollupRebuilt, follow_rebuilt, then=TOLD),
    on(WorkFailed, follow_failure, then=TOLD),
)
HANDLERS = [
    datasets.list_datasets,
    datasets.read_dataset,
    datasets.declare_dataset,
    datasets.infer,
    imports.import_file,
    batches.load_rows,
    syncs.start_sync,
    syncs.list_sources,
    schedules.list_schedules,
    rows.list_rows,
    rows.read_row,
    search.search,
    words.list_words,
    words.read_dictionary,
    search.search_by_body,
    search.suggest,
    searches.start_search,
    index.read_index,
    index.reindex,
    partitions.list_partitions,
    partitions.detach,
    reports.list_reports,
    reports.read_report,
    refreshes.refresh_report,
    rollups.list_rollups,
    rollups.rebuild_rollup,
    jobs.list_jobs,
    jobs.read_job,
    failed_rows.list_failed_rows,
    replays.replay_job,
    failed_rows.discard_failed_rows,
    events.follow_job,
]


def build(told: GatewaySettings) -> Litestar:
    """The service, ready to run."""
    show_zeros()
    spool = Spool(told.spool_url)
    catalog = Catalog()
    declared, kept = Reports(Path(told.catalog_dir), catalog), Kept()
    clocks = (Clock(ticking.look, ticking.EVERY_SECONDS), Clock(declared.look, EVERY_SECONDS))
    consumer = Consumer("gateway", ROUTES, told=told, given={}, sweep=partial(sweep, spool=spool), clocks=clocks)
    accepting = Accepting(consumer, catalog)
    downloads = Downloads()
    app = Litestar(
        [*HANDLERS, *operations.routes(consumer.check_database), docs.assets],
        lifespan=[consumer.running],
        middleware=[measure, linger, DefineMiddleware(Authentication, exclude_from_auth_key="public")],
        guards=[guard, refuse_unknown_parameters],
        exception_handlers={Exception: to_response},
        dependencies={
            "pool": Provide(lambda: consumer.pool, sync_to_thread=False),
            "relay": Provide(lambda: consumer.relay, sync_to_thread=False),
            "accepting": Provide(lambda: accepting, sync_to_thread=False),
            "spool": Provide(lambda: spool, sync_to_thread=False),
            "catalog": Provide(lambda: catalog, sync_to_thread=False),
            "reports": Provide(lambda: declared, sync_to_thread=False),
            "kept": Provide(lambda: kept, sync_to_thread=False),
            "downloads": Provide(lambda: downloads, sync_to_thread=False),
            "stopping": Provide(lambda: consumer.stopping, sync_to_thread=False),
            "told": Provide(lambda: told, sync_to_thread=False),
        },
        openapi_config=docs.CONFIG,
        logging_config=None,  # ours is JSON, see shared.telemetry.logs
    )
    app.state.consumer = consumer
    return app
