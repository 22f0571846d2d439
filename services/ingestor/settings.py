"""What the ingestor is told."""

from pathlib import Path

from shared.settings import ServiceSettings


class IngestorSettings(ServiceSettings, frozen=True, kw_only=True):
    """`chunk_bytes` is how much of a file is loaded at a time."""

    spool_url: str
    catalog_dir: str = str(Path(__file__).parents[2] / "catalog")
    chunk_bytes: int = 8 << 20
