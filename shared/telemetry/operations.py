"""The routes that every process answers, for those who run it: /health/live, /health/ready and /metrics."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

Checks = Callable[[], Awaitable[dict[str, str]]]


def routes(checks: Checks) -> list[HTTPRouteHandler]:
    """`checks` gives for each thing the process needs `ok`, or a word on what is wrong."""

    @get("/health/live", tags=["operations"], summary="Is the process running?", opt={"public": True})
    async def live() -> dict[str, str]:
        return {"status": "ok"}

    @get("/health/ready", tags=["operations"], summary="Can the process do its work?", opt={"public": True})
    async def ready() -> Response[dict[str, Any]]:
        found = await checks()
        well = all(word == "ok" for word in found.values())
        return Response({"status": "ok" if well else "unready", "checks": found}, status_code=200 if well else 503)

    @get(
        "/metrics",
        tags=["operations"],
        summary="Metrics, in the OpenMetrics format for those who accept it",
        opt={"public": True},
        media_type=MediaType.TEXT,
    )
    async def metrics(accept: Annotated[str, Parameter(header="Accept")] = "") -> Response[bytes]:
        encode, kind = choose_encoder(accept)
        # Litestar adds the charset to text by itself, and to text alone.
        return Response(encode(REGISTRY), media_type=kind.partition("; charset")[0] if kind[:5] == "text/" else kind)

    return [live, ready, metrics]
