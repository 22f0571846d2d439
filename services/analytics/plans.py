"""How Postgres is to go about a statement. It would guess from samples that a chunk is not in; we know."""

from shared.db import Connection

WHOLE = {"seqscan": "on", "nestloop": "off", "hashjoin": "on", "mergejoin": "on"}
"""All rows are read, and what was made of them is joined."""
MEETING = {**WHOLE, "seqscan": "off"}
"""A chunk's rows are found by an index; what was made of them is joined."""
KEYED = {"seqscan": "off", "nestloop": "on", "hashjoin": "off", "mergejoin": "off"}
"""Some keys, each looked up by an index, however many there are of them."""


async def use(db: Connection, plan: dict[str, str]) -> None:
    """Until the transaction ends, or another one is used. To compile such statements costs more than to run them."""
    settings = [f"SET LOCAL enable_{name} = {value}" for name, value in plan.items()]
    await db.execute("; ".join([*settings, "SET LOCAL jit = off"]))
