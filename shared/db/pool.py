"""The connection pool of a service."""

from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy

if TYPE_CHECKING:  # the stubs know what the classes hold, the classes themselves don't
    Connection = PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Connection = PoolConnectionProxy
    Pool = asyncpg.Pool

STATEMENT_SECONDS = 60.0
JSONB_VERSION = b"\x01"


async def connect(url: str, *, name: str, connections: int) -> Pool:
    """A pool of at most `connections`, seen as `name` in pg_stat_activity. Raises OSError while Postgres is away."""
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=connections,
        command_timeout=STATEMENT_SECONDS,
        timeout=5,
        init=_speak_json,
        server_settings={
            "application_name": name,
            "timezone": "UTC",
            "tcp_keepalives_idle": "10",
            "tcp_keepalives_interval": "5",
            "tcp_keepalives_count": "3",
        },
    )


async def _speak_json(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: JSONB_VERSION + msgspec.json.encode(value),
        decoder=lambda data: msgspec.json.decode(data[1:]),
        format="binary",  # COPY of records knows no other
    )
