"""The way to Postgres: a pool whose connections speak msgspec for JSON."""

from shared.db.pool import Connection, Pool, connect, transaction

__all__ = ["Connection", "Pool", "connect", "transaction"]
