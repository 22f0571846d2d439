"""Failed rows: listed, exported, replayed and discarded."""

from services.gateway.failed_rows import replay, routes

HANDLERS = (routes.list_failed_rows, routes.discard_failed_rows, replay.replay_job)
