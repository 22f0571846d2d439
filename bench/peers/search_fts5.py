"""SQLite's FTS5: `python -m bench.peers.search_fts5 DOCUMENTS QUERIES`.

It has a stemmed and an exact index. It ranks and counts in two passes, which is faster than one.
"""

import json
import sqlite3
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.peers.runner import HITS_READ, read_documents, run_queries

BUILD = """
PRAGMA journal_mode = off;
PRAGMA synchronous = off;
PRAGMA cache_size = -1000000;
PRAGMA mmap_size = 8000000000;
CREATE TABLE documents (id integer PRIMARY KEY, category text, price real, body text);
CREATE VIRTUAL TABLE stemmed USING fts5 (body, content=documents, content_rowid=id, tokenize='porter unicode61');
CREATE VIRTUAL TABLE exact USING fts5 (body, content=documents, content_rowid=id, tokenize='unicode61');
"""
FILL = """
INSERT INTO stemmed (stemmed) VALUES ('rebuild');
INSERT INTO stemmed (stemmed) VALUES ('optimize');
INSERT INTO exact (exact) VALUES ('rebuild');
INSERT INTO exact (exact) VALUES ('optimize');
ANALYZE;
"""


def main() -> None:
    """Builds the index on disk and runs the queries."""
    source, queries = sys.argv[1:]
    with TemporaryDirectory() as folder:
        db = sqlite3.connect(Path(folder, "documents.sqlite"))
        db.executescript(BUILD)
        db.executemany("INSERT INTO documents VALUES (?, ?, ?, ?)", read_documents(source))
        db.commit()
        db.executescript(FILL)
        print(json.dumps(run_queries(queries, lambda query: _search(db, query))))
        db.close()


def _search(db: sqlite3.Connection, query: dict[str, Any]) -> int | None:
    match = _match(query)
    if match is None:
        return None
    if query["kind"] == "filter":
        return _filtered(db, match, query["below"])
    table = "stemmed" if query["kind"] in {"rare", "common", "two", "phrase"} else "exact"
    db.execute(
        f"SELECT d.*, rank FROM {table} f JOIN documents d ON d.id = f.rowid WHERE {table} MATCH ?"
        f" ORDER BY rank LIMIT {HITS_READ}",
        (match,),
    ).fetchall()
    return int(db.execute(f"SELECT count(*) FROM {table} WHERE {table} MATCH ?", (match,)).fetchone()[0])


def _filtered(db: sqlite3.Connection, match: str, below: int) -> int:
    hits = "FROM stemmed f JOIN documents d ON d.id = f.rowid WHERE stemmed MATCH ? AND d.price < ?"
    db.execute(f"SELECT d.*, rank {hits} ORDER BY rank LIMIT {HITS_READ}", (match, below)).fetchall()
    facets = db.execute(f"SELECT d.category, count(*) {hits} GROUP BY 1", (match, below)).fetchall()
    return sum(count for _, count in facets)


def _match(query: dict[str, Any]) -> str | None:
    words = [f'"{word}"' for word in query["words"]]
    match query["kind"]:
        case "phrase":
            return '"{}"'.format(" ".join(query["words"]))
        case "exact or":
            return " OR ".join(words)
        case "prefix":
            return f"{words[0]}*"
        case "typo":
            return None
        case _:
            return " AND ".join(words)


if __name__ == "__main__":
    main()
