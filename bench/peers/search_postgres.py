"""Postgres as one asks it without us: `python -m bench.peers.search_postgres ranked|regex DATABASE_URL QUESTIONS`.

`ranked` orders all hits of a stemmed `tsvector` by `ts_rank`; `regex` scans for whole words, as the system
did that Millrace comes from. Either counts its hits by the same pass. The tables are those that `bench.bare` makes.
"""

import json
import sys
from typing import Any

import psycopg

from bench.peers.asking import FOUND, answers

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
    """One connection, one process of the server."""
    way, url, asked = sys.argv[1:]
    ask = {"ranked": _ranked, "regex": _regex}[way]
    with psycopg.connect(url, autocommit=True) as db:
        # What helps it: no compiling of a query that is asked once, and room to remember each hit by itself.
        db.execute("SET max_parallel_workers_per_gather = 0; SET jit = off; SET work_mem = '64MB'")
        print(json.dumps(answers(asked, lambda question: ask(db, question))))


def _ranked(db: Any, question: dict[str, Any]) -> int | None:
    kind, q = question["kind"], " ".join(question["words"])
    match kind:
        case "exact and" | "exact or" | "typo":
            return None  # a stemmed index does not know the words as they were
        case "filter":
            given = {"q": q, "below": question["below"]}
            found = db.execute(FILTERED.format(query=STEMMED, limit=FOUND), given).fetchall()
            db.execute(FACETS.format(query=STEMMED), given).fetchall()
        case "prefix":
            found = db.execute(RANKED.format(query=PREFIX, limit=FOUND), {"q": f"{q}:*"}).fetchall()
        case _:
            given = {"q": f'"{q}"' if kind == "phrase" else q}
            found = db.execute(RANKED.format(query=STEMMED, limit=FOUND), given).fetchall()
    return int(found[0][-1]) if found else 0


def _regex(db: Any, question: dict[str, Any]) -> int | None:
    kind, words = question["kind"], [rf"\m{word}\M" for word in question["words"]]
    match kind:
        case "filter" | "typo":
            return None
        case "phrase":
            words = [r"\s+".join(words)]
        case "prefix":
            words = [rf"\m{question['words'][0]}"]
        case _:
            pass
    condition = (" OR " if kind == "exact or" else " AND ").join(["body ~* %s"] * len(words))
    found = db.execute(SCANNED.format(condition=condition, limit=FOUND), words).fetchall()
    return int(found[0][-1]) if found else 0


if __name__ == "__main__":
    main()
