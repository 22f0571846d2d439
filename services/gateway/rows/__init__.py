"""Rows: load batches of rows, and read rows as pages or files."""

from services.gateway.rows import batch, routes

HANDLERS = (batch.load_rows, routes.list_rows, routes.read_row)
