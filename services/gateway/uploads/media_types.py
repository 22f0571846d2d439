"""Media types that can be imported, by content type or by file name."""

from pathlib import PurePath
from typing import NamedTuple

from shared.contracts.parts import Format


class Media(NamedTuple):
    """A file format; `delimiter` is its default one."""

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
EXTENSIONS = {".csv": CSV, ".tsv": TSV, ".ndjson": NDJSON, ".jsonl": NDJSON, ".json": JSON}
COMPRESSED = (".gz", ".zst")
FORM = "multipart/form-data"
ACCEPTED = ("text/csv", "text/tab-separated-values", "application/x-ndjson", "application/json", FORM)


def media_of_type(content_type: str) -> Media | None:
    """Returns the media of a content type without parameters."""
    return TYPES.get(content_type)


def media_of_name(name: str) -> Media | None:
    """Returns the media of a file name like `contacts.csv` or `contacts.ndjson.gz`."""
    path = PurePath(name.lower())
    return EXTENSIONS.get((PurePath(path.stem) if path.suffix in COMPRESSED else path).suffix)
