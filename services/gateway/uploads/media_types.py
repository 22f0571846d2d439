"""The kinds of files that can be imported, by what their type or their name says."""

from pathlib import PurePath
from typing import NamedTuple

from shared.contracts.parts import Format


class Media(NamedTuple):
    """`delimiter` is the one that such files have if nothing is said."""

    format: Format
    delimiter: str = ","


CSV, TSV, NDJSON, JSON = Media("csv"), Media("csv", "\t"), Media("ndjson"), Media("json")
TYPES = {
    "text/csv": CSV,
    "text/tab-separated-values": TSV,
    "application/x-ndjson": NDJSON,
    "application/ndjson": NDJSON,
    "application/jsonl": NDJSON,
    "application/json": JSON,
}
ENDINGS = {".csv": CSV, ".tsv": TSV, ".ndjson": NDJSON, ".jsonl": NDJSON, ".json": JSON}
COMPRESSED = (".gz", ".zst")
FORM = "multipart/form-data"
ACCEPTED = ("text/csv", "text/tab-separated-values", "application/x-ndjson", "application/json", FORM)


def media_of_type(kind: str) -> Media | None:
    """Of a content type without its parameters."""
    return TYPES.get(kind)


def media_of_name(name: str) -> Media | None:
    """Of a file name, like `contacts.csv` or `contacts.ndjson.gz`."""
    path = PurePath(name.lower())
    return ENDINGS.get((PurePath(path.stem) if path.suffix in COMPRESSED else path).suffix)
