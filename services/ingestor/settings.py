"""What the ingestor is told."""

from pathlib import Path

from shared.settings import ServiceSettings


class IngestorSettings(ServiceSettings, frozen=True, kw_only=True):
    """`chunk_bytes` is how much of a file is loaded at a time.

    `source_allow` lists hosts with ports, like `crm.internal:443,127.0.0.1:8100`, at which sources may be though these
    are not public, or speak http.
    """

    spool_url: str
    catalog_dir: str = str(Path(__file__).parents[2] / "catalog")
    chunk_bytes: int = 6 << 20
    source_allow: str = ""
