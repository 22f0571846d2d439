"""Reports: reading and refreshing them, and the rollups that they read."""

from services.gateway.reports import refresh, rollups, routes

HANDLERS = (
    routes.list_reports,
    routes.read_report,
    refresh.refresh_report,
    rollups.list_rollups,
    rollups.rebuild_rollup,
)
