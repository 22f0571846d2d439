"""Imports: load files as jobs."""

from services.gateway.imports import routes

HANDLERS = (routes.import_file,)
