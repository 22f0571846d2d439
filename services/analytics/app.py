"""Analytics: what each chunk changed is added to the rollups that reports read."""

from litestar import Litestar

from services.analytics.handlers import count_chunk, prepare_rollups, resend_uncounted
from services.analytics.settings import AnalyticsSettings
from shared.bus.routes import on
from shared.consumer import Consumer, operations_app
from shared.contracts.events import ChunkCounted, ChunkLoaded, DatasetDeclared

ROUTES = (
    on(DatasetDeclared, prepare_rollups),
    on(ChunkLoaded, count_chunk, then=ChunkCounted),
)


def build(told: AnalyticsSettings) -> Litestar:
    """The service, ready to run."""
    return operations_app(Consumer("analytics", ROUTES, told=told, given={}, sweep=resend_uncounted))
