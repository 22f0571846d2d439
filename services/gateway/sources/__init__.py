"""Sources: sync rows from external APIs, on request and on schedule."""

from services.gateway.sources import routes, schedule_routes

HANDLERS = (routes.start_sync, routes.list_sources, schedule_routes.list_schedules)
