"""The connection pool of a service."""

import contextlib
import re
from collections.abc import AsyncIterator
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
LOST = re.compile("connection is closed|connection was closed|released back to the pool")
JSONB_VERSION = b"\x01"


async def connect(url: str, *, name: str, connections: int) -> Pool:
    """A pool of at most `connections`, seen as `name` in pg_stat_activity. Raises OSError while Postgres is away."""
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=connections,
        command_timeout=STATEMENT_SECONDS,
        timeout=5,
        init=_speak,
        reset=_leave,
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
    """A connection in a transaction. Raises ConnectionResetError if Postgres ended it meanwhile.

    asyncpg says so with an InterfaceError of the rollback that it tries then, which hides the cause.
    """
    async with pool.acquire() as db:
        try:
            async with db.transaction():
                yield db
        except asyncpg.InterfaceError as error:
            if LOST.search(str(error)):
                raise ConnectionResetError(str(error)) from error
            raise


async def _leave(_connection: Any) -> None:
    """Settings and locks here end with their transaction, which is rolled back if it is still open: asyncpg's own reset
    would be one more round trip for each.
    """


async def _speak(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: JSONB_VERSION + msgspec.json.encode(value),
        decoder=lambda data: msgspec.json.decode(data[1:]),
        format="binary",  # COPY of records knows no other
    )
    await connection.set_type_codec(
        "json",
        schema="pg_catalog",
        encoder=lambda value: msgspec.json.encode(value).decode(),
        decoder=msgspec.json.decode,
    )
    # Documents are written as Postgres keeps them, which is much less work for it than reading text.
    await connection.set_type_codec("tsvector", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary")
