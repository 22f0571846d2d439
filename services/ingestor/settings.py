"""Settings of the ingestor."""

from pathlib import Path

from shared.settings import ServiceSettings


class IngestorSettings(ServiceSettings, frozen=True, kw_only=True):
    """`chunk_bytes` is the size of the chunks of a file.

    `source_allow` lists `host:port` pairs, like `crm.internal:443,127.0.0.1:8100`: private addresses that sources may
    use, also over plain HTTP.
    """

    database_connections: int = 14
    spool_url: str
    catalog_dir: str = str(Path(__file__).parents[2] / "catalog")
    chunk_bytes: int = 6 << 20
    source_allow: str = ""
