r"""Plain Postgres full-text search: `\copy`, `to_tsvector`, a GIN index. The peer of all search measurements."""

import os
from pathlib import Path
from typing import NamedTuple

from bench import psql
from bench.stack import Stack

COLUMNS = "id bigint PRIMARY KEY, category text NOT NULL, price double precision NOT NULL, body text NOT NULL"
# Uses all cores, including the leader's. A GIN index is always built by one process.
PARALLEL = (
    f"SET max_parallel_workers_per_gather = {max(1, (os.cpu_count() or 1) - 1)}",
    "SET min_parallel_table_scan_size = 0",
    "SET parallel_setup_cost = 0",
    "SET parallel_tuple_cost = 0",
)
MEMORY = "SET maintenance_work_mem = '1GB'"
VECTORS = "CREATE TABLE public.peer_words AS SELECT id, to_tsvector('english', body) AS words FROM public.peer"
INDEX = "CREATE INDEX ON public.peer_words USING gin (words)"


class BuildTimes(NamedTuple):
    """Duration of each step in seconds."""

    copied: float
    vectors: float
    indexed: float


def build(stack: Stack, documents: Path) -> BuildTimes:
    """Creates `public.peer` with the documents and `public.peer_words` with their vectors."""
    drop(stack)
    psql.run(stack, f"CREATE TABLE public.peer ({COLUMNS})")
    psql.settle(stack)
    copied = psql.seconds(stack, psql.copy(documents))
    psql.run(stack, "ANALYZE public.peer", "CHECKPOINT")
    vectors = psql.seconds(stack, *PARALLEL, VECTORS)
    return BuildTimes(copied, vectors, psql.seconds(stack, MEMORY, INDEX))


def drop(stack: Stack) -> None:
    """Drops both tables."""
    psql.run(stack, "SET client_min_messages = warning", "DROP TABLE IF EXISTS public.peer, public.peer_words")


def exists(stack: Stack) -> bool:
    """Returns whether the tables exist."""
    return psql.run(stack, "SELECT to_regclass('public.peer_words') IS NOT NULL").strip() == "t"
