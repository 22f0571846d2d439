"""Settings of the ingestor."""

from pathlib import Path

from shared.settings import Days, ServiceSettings


class IngestorSettings(ServiceSettings, frozen=True, kw_only=True):
    """`chunk_bytes` is the size of the chunks of a file.

    `source_allow` lists `host:port` pairs, like `crm.internal:443,127.0.0.1:8100`: private addresses that sources may
    use, also over plain HTTP. Settings with `keep` are explained by `services/ingestor/retention.py`.
    """

    database_connections: int = 14
    spool_url: str
    catalog_dir: str = str(Path(__file__).parents[2] / "catalog")
    chunk_bytes: int = 6 << 20
    source_allow: str = ""
    keep_ledger_days: Days = 90
    keep_failed_rows_days: Days = 90
    keep_abandoned_days: Days = 7
