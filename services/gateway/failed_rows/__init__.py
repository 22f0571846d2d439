"""Failed rows: list, export, replay and discard."""

from services.gateway.failed_rows import replay, routes

HANDLERS = (routes.list_failed_rows, routes.discard_failed_rows, replay.replay_job)
