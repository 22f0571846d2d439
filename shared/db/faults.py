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

WRONG = (
    asyncpg.SyntaxOrAccessError,
    asyncpg.DataError,
    asyncpg.FeatureNotSupportedError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.ProgramLimitExceededError,
)
"""The statement itself is no good: Postgres says what is wrong with it, and often where."""

ABSENT = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InvalidSchemaNameError)
"""Of what is wrong with a statement: something that it names is not there."""

UNFIT = (asyncpg.DataError, asyncpg.ProgramLimitExceededError)
"""The statement is good, and can't be computed with these values."""

OUTDATED = (asyncpg.InvalidCachedStatementError,)
"""A table was changed since the statement was prepared: it has to be prepared again, in another transaction."""


def position(error: Exception) -> int | None:
    """The character of the statement, from 0, that Postgres points at."""
    told = getattr(error, "position", None)
    return int(told) - 1 if told else None


def sentence(error: Exception) -> str:
    """What Postgres says, on one line: what is wrong, and what may be meant."""
    parts = [getattr(error, name, None) for name in ("message", "detail", "hint")]
    told = [part.rstrip(".") for part in parts if part]
    return ". ".join(told) or str(error)
