"""The gateway: accepts jobs, follows them, and serves rows, searches and reports."""

from pathlib import Path

from litestar import Litestar
from litestar.di import Provide

from services.gateway import datasets, failed_rows, imports, ops, reports, rows, search, sources
from services.gateway.catalog import Catalog
from services.gateway.http import openapi
from services.gateway.http.auth import Authentication
from services.gateway.http.middleware import drain_uploads, measure_requests
from services.gateway.http.problems import to_response
from services.gateway.jobs import event_log, gauges, kinds, spool_cleaner, stop
from services.gateway.jobs import routes as jobs
from services.gateway.jobs.announcements import init_metrics
from services.gateway.jobs.follow import WORK_FAILED
from services.gateway.jobs.spool_cleaner import SpoolCleaner
from services.gateway.jobs.submit import JobSubmitter
from services.gateway.jobs.waiters import JobWaiters
from services.gateway.reports import registry
from services.gateway.reports.cache import ReportCache
from services.gateway.reports.registry import ReportRegistry
from services.gateway.retention import RETENTIONS
from services.gateway.rows.export import Downloads
from services.gateway.settings import GatewaySettings
from services.gateway.sources import scheduler
from shared.bus import dead_letters
from shared.bus.periodic import PeriodicTask
from shared.bus.routes import Route
from shared.consumer import Consumer
from shared.retention import EVERY_SECONDS, RetentionTask
from shared.spool import Spool
from shared.telemetry import operations

FEATURES = (datasets, imports, rows, sources, search, reports, failed_rows, ops)


def routes() -> tuple[Route, ...]:
    """Returns the routes of the messages that the gateway consumes: the events of each kind of job, and WorkFailed."""
    by_message = {route.message: route for kind in kinds.registered() for route in kind.routes}
    return (*by_message.values(), WORK_FAILED, *dead_letters.ROUTES)


ROUTES = routes()


def build(settings: GatewaySettings) -> Litestar:
    """Returns the service, ready to run."""
    init_metrics()
    spool = Spool(settings.spool_url)
    catalog = Catalog()
    report_registry, report_cache = ReportRegistry(Path(settings.catalog_dir), catalog), ReportCache()
    periodic = (
        PeriodicTask(scheduler.run, scheduler.EVERY_SECONDS),
        PeriodicTask(report_registry.run, registry.EVERY_SECONDS),
        PeriodicTask(event_log.run, event_log.EVERY_SECONDS),
        PeriodicTask(stop.run, stop.EVERY_SECONDS),
        PeriodicTask(gauges.run, gauges.EVERY_SECONDS),
        PeriodicTask(SpoolCleaner(spool).run, spool_cleaner.EVERY_SECONDS),
        PeriodicTask(RetentionTask("gateway", RETENTIONS, settings).run, EVERY_SECONDS),
    )
    consumer = Consumer(
        "gateway",
        routes(),
        settings=settings,
        dependencies={},
        periodic=periodic,
        drains_dead_queue=True,
        committed=lambda messages: waiters.wake(messages),  # noqa: PLW0108 - the waiters need the consumer
    )
    waiters = JobWaiters(consumer)
    submitter = JobSubmitter(consumer, catalog, waiters)
    downloads = Downloads()
    handlers = [*jobs.handlers(), *(handler for feature in FEATURES for handler in feature.HANDLERS)]
    app = Litestar(
        [*handlers, *operations.routes(consumer.check_database, bus=consumer.check_bus), openapi.assets],
        lifespan=[consumer.running],
        middleware=[measure_requests, drain_uploads, Authentication],
        exception_handlers={Exception: to_response},
        dependencies={
            "pool": Provide(lambda: consumer.pool, sync_to_thread=False),
            "relay": Provide(lambda: consumer.relay, sync_to_thread=False),
            "submitter": Provide(lambda: submitter, sync_to_thread=False),
            "spool": Provide(lambda: spool, sync_to_thread=False),
            "catalog": Provide(lambda: catalog, sync_to_thread=False),
            "reports": Provide(lambda: report_registry, sync_to_thread=False),
            "report_cache": Provide(lambda: report_cache, sync_to_thread=False),
            "downloads": Provide(lambda: downloads, sync_to_thread=False),
            "waiters": Provide(lambda: waiters, sync_to_thread=False),
            "stopping": Provide(lambda: consumer.stopping, sync_to_thread=False),
            "settings": Provide(lambda: settings, sync_to_thread=False),
        },
        openapi_config=openapi.CONFIG,
        logging_config=None,  # shared.telemetry.logs configures logging as JSON
    )
    app.state.consumer = consumer
    return app
