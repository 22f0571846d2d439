"""Access to Postgres: connection pool, transactions, migrations and groups of errors."""

from shared.db.pool import LIMIT_IDLE, Connection, Pool, connect, transaction

__all__ = ["LIMIT_IDLE", "Connection", "Pool", "connect", "transaction"]
