"""Planner settings for rollup statements. Postgres estimates from samples that lack new chunks; these fix the plan."""

from shared.db import Connection

SCAN_ALL = {"seqscan": "on", "nestloop": "off", "hashjoin": "on", "mergejoin": "on"}
"""Sequential scans of all rows; hash or merge joins of their aggregates."""
SCAN_CHUNK = {**SCAN_ALL, "seqscan": "off"}
"""Index scans for the rows of a chunk; hash or merge joins of their aggregates."""
LOOK_UP_KEYS = {"seqscan": "off", "nestloop": "on", "hashjoin": "off", "mergejoin": "off"}
"""An index lookup for each key, however many keys there are."""


async def use(db: Connection, plan: dict[str, str]) -> None:
    """Sets the plan until the transaction ends. JIT is off: compiling these statements costs more than running them."""
    settings = [f"SET LOCAL enable_{name} = {value}" for name, value in plan.items()]
    await db.execute("; ".join([*settings, "SET LOCAL jit = off"]))
