"""OPTIONS requests: answered with the methods of the path. Litestar's answer lacks those of a second handler."""

from litestar.types import Scope, Send


async def respond(scope: Scope, send: Send) -> None:
    """Sends 204 with `Allow`."""
    routes = [route for route in scope["litestar_app"].routes if route.path_format == scope["path_template"]]
    methods = ", ".join(sorted({"OPTIONS"}.union(*(route.methods for route in routes))))
    await send({"type": "http.response.start", "status": 204, "headers": [(b"allow", methods.encode())]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
