"""The analytics service: adds the deltas of chunks to rollups, which reports read."""

from litestar import Litestar

from services.analytics.count import count_chunks
from services.analytics.declare import prepare_all, prepare_rollups
from services.analytics.rebuild import rebuild_rollup
from services.analytics.refresh import refresh_report
from services.analytics.retention import RETENTIONS
from services.analytics.settings import AnalyticsSettings
from shared.bus import dead_letters
from shared.bus.periodic import PeriodicTask
from shared.bus.routes import on
from shared.consumer import Consumer, operations_app
from shared.contracts.commands import RebuildRollup, RefreshReport
from shared.contracts.events import ChunkCounted, ChunkLoaded, DatasetDeclared, ReportRefreshed, RollupRebuilt
from shared.retention import EVERY_SECONDS, RetentionTask

ROUTES = (
    on(DatasetDeclared, prepare_rollups),
    on(ChunkLoaded, count_chunks, then=ChunkCounted, together=400),
    on(RefreshReport, refresh_report, then=ReportRefreshed),
    on(RebuildRollup, rebuild_rollup, then=RollupRebuilt),
    *dead_letters.ROUTES,
)


def build(settings: AnalyticsSettings) -> Litestar:
    """Returns the service's application."""
    return operations_app(
        Consumer(
            "analytics",
            ROUTES,
            settings=settings,
            dependencies={},
            start=prepare_all,
            periodic=(PeriodicTask(RetentionTask("analytics", RETENTIONS, settings).run, EVERY_SECONDS),),
        )
    )
