"""Settings of the gateway."""

from shared.settings import ServiceSettings


class GatewaySettings(ServiceSettings, frozen=True, kw_only=True):
    """`max_upload_bytes` limits one file."""

    spool_url: str
    catalog_dir: str
    max_upload_bytes: int = 2 << 30
    database_connections: int = 20
