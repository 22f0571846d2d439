"""Which database errors say "try again", which say "Postgres is away", and which that a table is gone."""

import socket

import asyncpg

AWAY = (
    ConnectionError,
    socket.gaierror,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
)
"""The server can't be reached or is going down; nothing is known about the work itself.

Not OSError: a missing file and a statement that took too long are OSErrors too.
"""

BROKEN = (asyncpg.InterfaceError,)
"""The connection was lost under a statement, or a statement is wrong: worth another attempt, not endless ones."""

COLLIDED = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.UniqueViolationError,
)
"""Two transactions met; the same work will pass when tried again at once."""

LOCKED = (asyncpg.LockNotAvailableError,)
"""Somebody else held a lock for longer than it was to be waited for."""

DROPPED = (asyncpg.UndefinedTableError,)
"""The table is not there, or was dropped while the statement waited for it."""

TOO_LONG = (asyncpg.QueryCanceledError, TimeoutError)
"""The statement was given so much time, and needed more."""
