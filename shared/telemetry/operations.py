"""HTTP routes for operators, which every service has: /health/live, /health/ready and /metrics."""

import os
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

METRICS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The variable with the folder that the workers of a service share."""
Checks = Callable[[], Awaitable[dict[str, str]]]
"""Returns `ok` or an error for each thing that the process needs."""


def routes(checks: Checks, *, bus: Checks | None = None) -> list[HTTPRouteHandler]:
    """Returns the routes; /health/ready runs `checks`, and shows what `bus` finds without failing for it."""

    @get("/health/live", tags=["operations"], summary="Is the process running?", opt={"public": True})
    async def live() -> dict[str, str]:
        return {"status": "ok"}

    @get("/health/ready", tags=["operations"], summary="Can the process do its work?", opt={"public": True})
    async def ready() -> Response[dict[str, Any]]:
        results = await checks()
        healthy = all(result == "ok" for result in results.values())
        body = {"status": "ok" if healthy else "unready", "checks": results}
        if bus is not None:
            body["bus"] = await bus()
        return Response(body, status_code=200 if healthy else 503)

    @get(
        "/metrics",
        tags=["operations"],
        summary="Metrics in the Prometheus format, or in OpenMetrics if accepted",
        opt={"public": True},
        media_type=MediaType.TEXT,
    )
    async def metrics(accept: Annotated[str, Parameter(header="Accept")] = "") -> Response[bytes]:
        encode, kind = choose_encoder(accept)
        # Litestar adds the charset to text types itself.
        return Response(encode(_registry()), media_type=kind.partition("; charset")[0] if kind[:5] == "text/" else kind)

    return [live, ready, metrics]


def _registry() -> CollectorRegistry:
    """Returns the metrics of this process, or the sum over all workers of the service."""
    if METRICS_DIRECTORY not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # untyped in prometheus_client
    return registry
