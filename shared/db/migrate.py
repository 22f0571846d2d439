"""Migrations: applies the numbered `.sql` files, and creates each service's role, schemas and grants.

Run as `python -m shared.db.migrate`. DATABASE_URL names a role that may create roles and schemas; GATEWAY_PASSWORD,
INGESTOR_PASSWORD, INDEXER_PASSWORD and ANALYTICS_PASSWORD are the passwords of the services' roles. Idempotent: an
advisory lock serializes runs, and a checksum detects a file that was changed after it was applied.
"""

import asyncio
import hashlib
import sys
from pathlib import Path

import asyncpg
import msgspec

from shared.settings import BadSettings, read

ROOT = Path(__file__).parents[2]
READABLE_SERVICES: dict[str, tuple[str, ...]] = {
    "ingestor": (),
    "indexer": ("ingestor",),
    "analytics": ("ingestor",),
    "gateway": ("ingestor", "indexer", "analytics"),
}
"""Whose events each service consumes, and so whose tables it may read. It writes only its own tables."""
LEDGER_TABLES = ("outbox", "inbox", "attempts", "dead_letters")
"""Tables of each service that all services may read."""
PUBLISHED_TABLES = {"gateway": ("cancellations",)}
"""Further tables that all services may read."""
DATASET_SCHEMAS = {"ingestor": ("data", "detached"), "indexer": ("documents",), "analytics": ("rollups",)}
"""Schemas for the tables that a service creates for each dataset."""
IDLE_TIMEOUTS = {"gateway": "15s"}
"""How long a process that is paused in a transaction may hold its locks."""
LONGEST_IDLE = "10min"
"""For services that work on rows between two statements. Locks that others wait for set a shorter one."""
LOCK = 0x6D696C6C


class MigrationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """URL of an administrator's role, and the password of each service's role."""

    database_url: str
    gateway_password: str
    ingestor_password: str
    indexer_password: str
    analytics_password: str


class ChangedMigration(Exception):
    """A migration file was changed after it was applied."""


async def migrate(settings: MigrationSettings) -> list[str]:
    """Applies the missing files and returns their names. Raises ChangedMigration."""
    connection = await asyncpg.connect(settings.database_url, server_settings={"client_min_messages": "warning"})
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            passwords = msgspec.structs.asdict(settings)
            for service in READABLE_SERVICES:
                await _create_role(connection, service, passwords[f"{service}_password"])
            return await _apply(connection)
    finally:
        await connection.close()


async def _create_role(connection: "asyncpg.Connection[asyncpg.Record]", service: str, password: str) -> None:
    exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", service)
    verb = "ALTER" if exists else "CREATE"
    quoted = await connection.fetchval("SELECT quote_literal($1)", password)
    await connection.execute(f"{verb} ROLE {service} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {quoted}")
    await connection.execute(f"ALTER ROLE {service} SET search_path = {service}")
    timeout = IDLE_TIMEOUTS.get(service, LONGEST_IDLE)
    await connection.execute(f"ALTER ROLE {service} SET idle_in_transaction_session_timeout = '{timeout}'")
    await connection.execute(f"GRANT {service} TO CURRENT_USER")
    for schema in _schemas(service):
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {service}")


async def _apply(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    await connection.execute("CREATE SCHEMA IF NOT EXISTS millrace")
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS millrace.migrations"
        " (name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    rows = await connection.fetch("SELECT name, checksum FROM millrace.migrations")
    applied: dict[str, str] = {row["name"]: row["checksum"] for row in rows}
    names = []
    for service in READABLE_SERVICES:
        for path in [*_files(ROOT / "shared/bus/migrations"), *_files(ROOT / "services" / service / "migrations")]:
            name = f"{service}/{path.relative_to(ROOT)}"
            script = path.read_text()
            checksum = hashlib.sha256(script.encode()).hexdigest()
            if name in applied:
                if applied[name] != checksum:
                    raise ChangedMigration(f"{path} was changed after it was applied: write a new numbered file")
                continue
            await connection.execute(f"SET LOCAL ROLE {service}")
            await connection.execute(f"SET LOCAL search_path = {service}")
            await connection.execute(script)
            await connection.execute("RESET ROLE")
            await connection.execute("INSERT INTO millrace.migrations (name, checksum) VALUES ($1, $2)", name, checksum)
            names.append(name)
        await _grant(connection, service)
        await _grant_ledger(connection, service)
    return names


async def _grant(connection: "asyncpg.Connection[asyncpg.Record]", service: str) -> None:
    readers = [reader for reader, readable in READABLE_SERVICES.items() if service in readable]
    for schema in _schemas(service):
        for reader in readers:
            await connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {reader}")
            await connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {reader}")
            await connection.execute(
                f"ALTER DEFAULT PRIVILEGES FOR ROLE {service} IN SCHEMA {schema} GRANT SELECT ON TABLES TO {reader}"
            )


async def _grant_ledger(connection: "asyncpg.Connection[asyncpg.Record]", service: str) -> None:
    """Lets every service read the ledger of this one: senders see what has ended, receivers what was sent."""
    readers = ", ".join(reader for reader in READABLE_SERVICES if reader != service)
    tables = ", ".join(f"{service}.{table}" for table in (*LEDGER_TABLES, *PUBLISHED_TABLES.get(service, ())))
    await connection.execute(f"GRANT USAGE ON SCHEMA {service} TO {readers}")
    await connection.execute(f"GRANT SELECT ON {tables} TO {readers}")


def _schemas(service: str) -> list[str]:
    return [service, *DATASET_SCHEMAS.get(service, ())]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.sql"))


def main() -> None:
    """Runs the migrations and prints the names of the applied files."""
    try:
        names = asyncio.run(migrate(read(MigrationSettings)))
    except (BadSettings, ChangedMigration, OSError, asyncpg.PostgresError) as error:
        sys.exit(f"migrate: {error}")
    for name in names:
        sys.stdout.write(f"applied {name}\n")


if __name__ == "__main__":
    main()
