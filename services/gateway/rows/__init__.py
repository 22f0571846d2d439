"""Rows: batches of rows come in, rows go out as pages and files."""

from services.gateway.rows import batch, routes

HANDLERS = (batch.load_rows, routes.list_rows, routes.read_row)
