r"""How long a million documents take from the start of their upload until all of them can be found.

The peer does by hand what has to be done at least: `\copy` into a table with its key, `to_tsvector`, a GIN index.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2

from bench import bare, documents, jobs, psql
from bench.documents import DECLARATION, ROWS
from bench.report import Row, at_most
from bench.stack import Stack

LIMIT = 1.3
DATASET = "bench_documents"
UNSEARCHED = "bench_unsearched"


def measure(stack: Stack) -> list[Row]:
    """Once each; what is built stays for the measurements of search."""
    with file() as path, jobs.client(stack) as http:
        jobs.declare(http, UNSEARCHED, {key: value for key, value in DECLARATION.items() if key != "search"})
        psql.settle(stack)
        unsearched = jobs.load_file(stack, http, UNSEARCHED, path)
        psql.drop(stack, UNSEARCHED)
        peer = bare.build(stack, path)
        load = _load(stack, http, path)
    bones = peer.vectors + peer.indexed
    by_hand, ours = peer.copied + bones, load.ended - unsearched.ended
    return [
        Row(f"searchable, {ROWS:,} documents: psql \\copy, with the key", f"{peer.copied:.1f} s"),
        Row("searchable: to_tsvector, in parallel", f"{peer.vectors:.1f} s"),
        Row("searchable: GIN index", f"{peer.indexed:.1f} s"),
        Row("searchable: to_tsvector + GIN", f"{bones:.1f} s", 1.0),
        Row("searchable: Millrace, beyond a load without search", f"{ours:.1f} s", ours / bones),
        Row("searchable: psql \\copy + to_tsvector + GIN", f"{by_hand:.1f} s", 1.0),
        Row(
            "searchable: Millrace, upload to job ended",
            f"{load.ended:.1f} s",
            load.ended / by_hand,
            at_most(load.ended / by_hand, LIMIT),
        ),
        Row("searchable: Millrace, last chunk loaded", f"{load.loaded:.1f} s"),
        Row("searchable: Millrace, the same file without search, job ended", f"{unsearched.ended:.1f} s"),
    ]


@contextmanager
def file() -> Iterator[Path]:
    """The documents, for as long as they are needed."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "documents.csv")
        documents.write(path, ROWS)
        yield path


def stock(stack: Stack, http: httpx2.Client, path: Path | None = None) -> None:
    """The dataset stands with all documents, also if it was not measured how they come in."""
    if http.get(f"/v1/datasets/{DATASET}").is_success:
        return
    if path is not None:
        _load(stack, http, path)
        return
    with file() as written:
        _load(stack, http, written)


def _load(stack: Stack, http: httpx2.Client, path: Path) -> jobs.Load:
    jobs.declare(http, DATASET, DECLARATION)
    psql.settle(stack)
    load = jobs.load_file(stack, http, DATASET, path)
    assert load.outcome["inserted"] == ROWS, load
    return load
