"""Settings of the gateway."""

from typing import Annotated

import msgspec

from shared.settings import Days, ServiceSettings


class GatewaySettings(ServiceSettings, frozen=True, kw_only=True):
    """`max_upload_bytes` limits one file. `gateway_workers` processes share the port.

    Settings with `keep` are explained by `services/gateway/retention.py`.
    """

    spool_url: str
    catalog_dir: str
    max_upload_bytes: int = 2 << 30
    database_connections: int = 20
    gateway_workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    keep_jobs_days: Days = 90
    keep_events_days: Days = 90
    keep_job_chunks_days: Days = 1
    keep_ticks_days: Days = 30
    keep_idempotency_keys_days: Days = 1
