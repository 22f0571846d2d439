"""SQL about the readers of a dataset's chunks: the indexer if search is declared, analytics if rollups are."""

from shared.reads.analytics import COUNTED_CHUNKS
from shared.reads.indexer.tables import INDEXED_CHUNKS

MARKS = {"indexer": ("search", INDEXED_CHUNKS), "analytics": ("rollups", COUNTED_CHUNKS)}


def declared(dataset: str) -> str:
    """Returns an array with the names of the readers; `dataset` is a row of `datasets`."""
    names = (
        f"CASE WHEN {dataset}.declaration->'{part}' IS NOT NULL THEN '{reader}' END"
        for reader, (part, _) in MARKS.items()
    )
    return f"array_remove(ARRAY[{', '.join(names)}], NULL)"


def have_finished(dataset: str, ledger: str) -> str:
    """Returns the condition that each declared reader has the chunk with this number; the others need it no more."""
    return " AND ".join(
        f"({dataset}.declaration->'{part}' IS NULL OR EXISTS (SELECT FROM {marks} m WHERE m.ledger = {ledger}))"
        for part, marks in MARKS.values()
    )
