"""SQLite's FTS5: `python -m bench.peers.search_fts5 DOCUMENTS QUESTIONS`.

Words are indexed stemmed, and as they are. It ranks and counts in two passes; one that does both takes longer.
"""

import json
import sqlite3
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.peers.asking import FOUND, answers, documents

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
    """Reads the documents from a file, keeps the index on disk, and answers."""
    source, asked = sys.argv[1:]
    with TemporaryDirectory() as folder:
        db = sqlite3.connect(Path(folder, "documents.sqlite"))
        db.executescript(BUILD)
        db.executemany("INSERT INTO documents VALUES (?, ?, ?, ?)", documents(source))
        db.commit()
        db.executescript(FILL)
        print(json.dumps(answers(asked, lambda question: _ask(db, question))))
        db.close()


def _ask(db: sqlite3.Connection, question: dict[str, Any]) -> int | None:
    match = _match(question)
    if match is None:
        return None
    if question["kind"] == "filter":
        return _filtered(db, match, question["below"])
    table = "stemmed" if question["kind"] in {"rare", "common", "two", "phrase"} else "exact"
    db.execute(
        f"SELECT d.*, rank FROM {table} f JOIN documents d ON d.id = f.rowid WHERE {table} MATCH ?"
        f" ORDER BY rank LIMIT {FOUND}",
        (match,),
    ).fetchall()
    return int(db.execute(f"SELECT count(*) FROM {table} WHERE {table} MATCH ?", (match,)).fetchone()[0])


def _filtered(db: sqlite3.Connection, match: str, below: int) -> int:
    found = "FROM stemmed f JOIN documents d ON d.id = f.rowid WHERE stemmed MATCH ? AND d.price < ?"
    db.execute(f"SELECT d.*, rank {found} ORDER BY rank LIMIT {FOUND}", (match, below)).fetchall()
    facets = db.execute(f"SELECT d.category, count(*) {found} GROUP BY 1", (match, below)).fetchall()
    return sum(hits for _, hits in facets)


def _match(question: dict[str, Any]) -> str | None:
    words = [f'"{word}"' for word in question["words"]]
    match question["kind"]:
        case "phrase":
            return '"{}"'.format(" ".join(question["words"]))
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
