"""Connection pool of a service, with msgspec codecs for JSON."""

import contextlib
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy

if TYPE_CHECKING:  # asyncpg's classes are generic in its stubs only
    Connection = PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Connection = PoolConnectionProxy
    Pool = asyncpg.Pool

STATEMENT_SECONDS = 60.0
CONNECTION_LOST = re.compile("connection is closed|connection was closed|released back to the pool")
LIMIT_IDLE = "set_config('idle_in_transaction_session_timeout', '10s', true)"
"""An SQL expression for transactions that hold a lock for which others wait: a paused process loses it soon."""
JSONB_VERSION = b"\x01"


async def connect(url: str, *, name: str, connections: int) -> Pool:
    """Opens a pool of up to `connections`, with application name `name`. Raises OSError if Postgres is unreachable."""
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=connections,
        command_timeout=STATEMENT_SECONDS,
        timeout=5,
        init=_set_codecs,
        reset=_skip_reset,
        server_settings={
            "application_name": name,
            "timezone": "UTC",
            "tcp_keepalives_idle": "10",
            "tcp_keepalives_interval": "5",
            "tcp_keepalives_count": "3",
        },
    )


@contextlib.asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """Opens a transaction on a connection of the pool. Raises ConnectionResetError if the connection was lost.

    asyncpg then raises an InterfaceError from its rollback, which hides the cause.
    """
    async with pool.acquire() as db:
        try:
            async with db.transaction():
                yield db
        except asyncpg.InterfaceError as error:
            if CONNECTION_LOST.search(str(error)):
                raise ConnectionResetError(str(error)) from error
            raise


async def _skip_reset(_connection: Any) -> None:
    """Does nothing: settings and locks end with their transaction, and asyncpg's reset costs a round trip."""


async def _set_codecs(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: JSONB_VERSION + msgspec.json.encode(value),
        decoder=lambda data: msgspec.json.decode(data[1:]),
        format="binary",  # the only one that COPY of records supports
    )
    await connection.set_type_codec(
        "json",
        schema="pg_catalog",
        encoder=lambda value: msgspec.json.encode(value).decode(),
        decoder=msgspec.json.decode,
    )
    # Documents are sent in Postgres' binary format, which it reads much faster than text.
    await connection.set_type_codec("tsvector", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary")
