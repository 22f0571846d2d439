r"""Time from the upload of a million documents until all are searchable.

The peer runs the minimum by hand: `\copy` into a table with its key, `to_tsvector`, a GIN index.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2

from bench import documents, jobs, plain_postgres, psql
from bench.documents import DECLARATION, ROWS
from bench.results import Row, at_most
from bench.stack import Stack

LIMIT = 1.3
DATASET = "bench_documents"
UNINDEXED = "bench_unindexed"


def measure(stack: Stack) -> list[Row]:
    """Runs once; tables and index stay for the measurements of search."""
    with document_file() as path, jobs.client(stack) as http:
        jobs.declare(http, UNINDEXED, {key: value for key, value in DECLARATION.items() if key != "search"})
        psql.settle(stack)
        unindexed = jobs.load_file(stack, http, UNINDEXED, path)
        psql.drop(stack, UNINDEXED)
        peer = plain_postgres.build(stack, path)
        load = _load(stack, http, path)
    indexing = peer.vectors + peer.indexed
    manual, millrace = peer.copied + indexing, load.ended - unindexed.ended
    return [
        Row(f"searchable, {ROWS:,} documents: psql \\copy, with the key", f"{peer.copied:.1f} s"),
        Row("searchable: to_tsvector, in parallel", f"{peer.vectors:.1f} s"),
        Row("searchable: GIN index", f"{peer.indexed:.1f} s"),
        Row("searchable: to_tsvector + GIN", f"{indexing:.1f} s", 1.0),
        Row("searchable: Millrace, beyond a load without search", f"{millrace:.1f} s", millrace / indexing),
        Row("searchable: psql \\copy + to_tsvector + GIN", f"{manual:.1f} s", 1.0),
        Row(
            "searchable: Millrace, upload to job ended",
            f"{load.ended:.1f} s",
            load.ended / manual,
            at_most(load.ended / manual, LIMIT),
        ),
        Row("searchable: Millrace, last chunk loaded", f"{load.loaded:.1f} s"),
        Row("searchable: Millrace, the same file without search, job ended", f"{unindexed.ended:.1f} s"),
    ]


@contextmanager
def document_file() -> Iterator[Path]:
    """Yields a file with the documents."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "documents.csv")
        documents.write(path, ROWS)
        yield path


def ensure_loaded(stack: Stack, http: httpx2.Client, path: Path | None = None) -> None:
    """Loads the documents unless the dataset exists."""
    if http.get(f"/v1/datasets/{DATASET}").is_success:
        return
    if path is not None:
        _load(stack, http, path)
        return
    with document_file() as written:
        _load(stack, http, written)


def _load(stack: Stack, http: httpx2.Client, path: Path) -> jobs.Load:
    jobs.declare(http, DATASET, DECLARATION)
    psql.settle(stack)
    load = jobs.load_file(stack, http, DATASET, path)
    assert load.outcome["inserted"] == ROWS, load
    return load
