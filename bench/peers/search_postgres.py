"""Plain Postgres: `python -m bench.peers.search_postgres ranked|regex DATABASE_URL QUERIES`.

`ranked` orders the hits of a stemmed `tsvector` by `ts_rank`. `regex` scans for whole words, as the predecessor of
Millrace did. Both count the hits in the same pass. `bench.plain_postgres` creates the tables.
"""

import json
import sys
from typing import Any

import psycopg

from bench.peers.runner import HITS_READ, run_queries

RANKED = """
SELECT d.*, f.hits FROM (
    SELECT id, ts_rank(words, q) AS rank, count(*) OVER () AS hits
    FROM public.peer_words, {query} q WHERE words @@ q ORDER BY rank DESC, id LIMIT {limit}
) f JOIN public.peer d USING (id) ORDER BY f.rank DESC, id
"""
FILTERED = """
SELECT d.*, ts_rank(words, q) AS rank, count(*) OVER () AS hits
FROM public.peer_words w JOIN public.peer d USING (id), {query} q
WHERE words @@ q AND d.price < %(below)s ORDER BY rank DESC, id LIMIT {limit}
"""
FACETS = """
SELECT d.category, count(*) FROM public.peer_words w JOIN public.peer d USING (id), {query} q
WHERE words @@ q AND d.price < %(below)s GROUP BY 1
"""
SCANNED = "SELECT d.*, count(*) OVER () AS hits FROM public.peer d WHERE {condition} ORDER BY id LIMIT {limit}"
STEMMED = "websearch_to_tsquery('english', %(q)s)"
PREFIX = "to_tsquery('simple', %(q)s)"


def main() -> None:
    """Runs the queries on one connection."""
    mode, url, queries = sys.argv[1:]
    search = {"ranked": _ranked, "regex": _regex}[mode]
    with psycopg.connect(url, autocommit=True) as db:
        # Tuned for this: no JIT for queries that run once, and memory for an exact bitmap of the hits.
        db.execute("SET max_parallel_workers_per_gather = 0; SET jit = off; SET work_mem = '64MB'")
        print(json.dumps(run_queries(queries, lambda query: search(db, query))))


def _ranked(db: Any, query: dict[str, Any]) -> int | None:
    kind, q = query["kind"], " ".join(query["words"])
    match kind:
        case "exact and" | "exact or" | "typo":
            return None  # a stemmed index has no exact words
        case "filter":
            parameters = {"q": q, "below": query["below"]}
            rows = db.execute(FILTERED.format(query=STEMMED, limit=HITS_READ), parameters).fetchall()
            db.execute(FACETS.format(query=STEMMED), parameters).fetchall()
        case "prefix":
            rows = db.execute(RANKED.format(query=PREFIX, limit=HITS_READ), {"q": f"{q}:*"}).fetchall()
        case _:
            parameters = {"q": f'"{q}"' if kind == "phrase" else q}
            rows = db.execute(RANKED.format(query=STEMMED, limit=HITS_READ), parameters).fetchall()
    return int(rows[0][-1]) if rows else 0


def _regex(db: Any, query: dict[str, Any]) -> int | None:
    kind, words = query["kind"], [rf"\m{word}\M" for word in query["words"]]
    match kind:
        case "filter" | "typo":
            return None
        case "phrase":
            words = [r"\s+".join(words)]
        case "prefix":
            words = [rf"\m{query['words'][0]}"]
        case _:
            pass
    condition = (" OR " if kind == "exact or" else " AND ").join(["body ~* %s"] * len(words))
    rows = db.execute(SCANNED.format(condition=condition, limit=HITS_READ), words).fetchall()
    return int(rows[0][-1]) if rows else 0


if __name__ == "__main__":
    main()
