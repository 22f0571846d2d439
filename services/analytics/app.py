"""Analytics: what each chunk changed is added to the rollups that reports read."""

from litestar import Litestar

from services.analytics.declaring import prepare_all, prepare_rollups, rebuild_rollup
from services.analytics.handlers import count_chunk, refresh_report, resend_uncounted
from services.analytics.settings import AnalyticsSettings
from shared.bus.routes import on
from shared.consumer import Consumer, operations_app
from shared.contracts.commands import RebuildRollup, RefreshReport
from shared.contracts.events import ChunkCounted, ChunkLoaded, DatasetDeclared, ReportRefreshed, RollupRebuilt

ROUTES = (
    on(DatasetDeclared, prepare_rollups),
    on(ChunkLoaded, count_chunk, then=ChunkCounted),
    on(RefreshReport, refresh_report, then=ReportRefreshed),
    on(RebuildRollup, rebuild_rollup, then=RollupRebuilt),
)


def build(settings: AnalyticsSettings) -> Litestar:
    """The service, ready to run."""
    return operations_app(
        Consumer("analytics", ROUTES, settings=settings, dependencies={}, sweep=resend_uncounted, start=prepare_all)
    )
