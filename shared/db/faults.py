"""Groups of Postgres errors by what a caller can do about them."""

import errno
import socket

import asyncpg

UNAVAILABLE = (
    ConnectionError,
    socket.gaierror,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
)
"""The server is unreachable or shutting down: wait for it.

OSError is not listed, because missing files and statement timeouts are OSErrors too.
"""

SERVER_ERRORS = (asyncpg.PostgresError,)
"""Whatever Postgres refuses: no space on its disk, a standby that is read-only, a table that is not migrated yet."""

NOT_MIGRATED = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InsufficientPrivilegeError,
)
"""The migrations that create roles, schemas and tables have not run yet. A wrong password looks the same."""
NOT_NOW = (
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
    asyncpg.ConfigurationLimitExceededError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    TimeoutError,
    MemoryError,
)
"""The server has no room, only reads, or did not finish in time: the same work may succeed later."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM)
"""Error numbers of the operating system that mean the same."""

INTERFACE_ERRORS = (asyncpg.InterfaceError, asyncpg.InternalClientError)
"""The connection was lost during a statement, or asyncpg was misused: retry a limited number of times."""

CONFLICTS = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.UniqueViolationError,
)
"""Two transactions conflicted: retry the whole transaction at once."""

LOCK_TIMEOUT = (asyncpg.LockNotAvailableError,)
"""Another transaction held a lock for longer than lock_timeout."""

MISSING_TABLE = (asyncpg.UndefinedTableError,)
"""The table does not exist, or was dropped while the statement waited for it."""

STATEMENT_TIMEOUT = (asyncpg.QueryCanceledError, TimeoutError)
"""The statement exceeded its timeout."""

INVALID_STATEMENT = (
    asyncpg.SyntaxOrAccessError,
    asyncpg.DataError,
    asyncpg.FeatureNotSupportedError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.ProgramLimitExceededError,
)
"""Postgres rejects the statement itself; the error says why, and often where."""

MISSING_OBJECT = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InvalidSchemaNameError)
"""The statement names a table, a column or a schema that does not exist."""

INVALID_VALUES = (asyncpg.DataError, asyncpg.ProgramLimitExceededError)
"""The statement is valid, but fails with these values."""

STALE_STATEMENT = (asyncpg.InvalidCachedStatementError,)
"""A table changed after the statement was prepared: prepare it again in another transaction."""


def is_not_now(error: BaseException) -> bool:
    """Returns whether the error says that the same work may succeed later."""
    return isinstance(error, NOT_NOW) or (isinstance(error, OSError) and error.errno in NO_ROOM)


def error_position(error: Exception) -> int | None:
    """Returns the offset in the statement, from 0, that Postgres reports; None if it reports none."""
    position = getattr(error, "position", None)
    return int(position) - 1 if position else None


def error_sentence(error: Exception) -> str:
    """Returns Postgres' message, detail and hint on one line."""
    parts = [getattr(error, name, None) for name in ("message", "detail", "hint")]
    return ". ".join(part.rstrip(".") for part in parts if part) or str(error)
