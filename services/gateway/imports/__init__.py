"""Imports: files become jobs."""

from services.gateway.imports import routes

HANDLERS = (routes.import_file,)
