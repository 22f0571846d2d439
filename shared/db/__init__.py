"""Access to Postgres: connection pool, transactions, migrations and groups of errors."""

from shared.db.pool import Connection, Pool, connect, transaction

__all__ = ["Connection", "Pool", "connect", "transaction"]
