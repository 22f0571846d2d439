"""API keys: created once, shown once, stored as a hash.

`python -m services.gateway.http.api_keys create --name NAME --scope SCOPE` prints a new key; `… verify` reads a key
from standard input and exits with 0 if it is valid. Both need the DATABASE_URL of the gateway's role.
"""

import argparse
import asyncio
import hashlib
import hmac
import os
import secrets
import sys
from typing import Any

import msgspec

from shared.db import Connection, connect

SCOPES = ("read", "write", "admin")
"""Each scope includes the scopes before it."""
PREFIX = "mr"


class Key(msgspec.Struct, frozen=True):
    """A valid key: neither expired nor revoked."""

    id: str
    name: str
    hash: bytes
    scope: str

    def allows(self, scope: str) -> bool:
        """Returns whether the key may use a route that requires `scope`."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


async def insert_key(db: Connection, key_id: str, name: str, digest: bytes, scope: str) -> None:
    """Inserts the hash of a key; the key itself is not stored."""
    await db.execute(
        "INSERT INTO api_keys (id, name, hash, scope) VALUES ($1, $2, $3, $4)", key_id, name, digest, scope
    )


async def select_key(db: Connection, key_id: str) -> dict[str, Any] | None:
    """Returns the key with this id, or None if it is unknown, expired or revoked."""
    row = await db.fetchrow(
        "SELECT id, name, hash, scope FROM api_keys"
        " WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
        key_id,
    )
    return dict(row) if row else None


async def create(db: Connection, name: str, scope: str) -> str:
    """Creates a key and returns it. It can't be read again later."""
    # Nobody can guess 256 random bits, so a fast hash is enough.
    key_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    await insert_key(db, key_id, name, hashlib.sha256(secret.encode()).digest(), scope)
    return f"{PREFIX}_{key_id}_{secret}"


async def find(db: Connection, text: str) -> Key | None:
    """Returns the valid key with this text, or None."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix != PREFIX or not key_id or not secret:
        return None
    row = await select_key(db, key_id)
    if row is None:
        return None
    key = Key(**row)
    return key if hmac.compare_digest(key.hash, hashlib.sha256(secret.encode()).digest()) else None


async def _run(arguments: argparse.Namespace) -> int:
    pool = await connect(os.environ["DATABASE_URL"], name="millrace keys", connections=1)
    async with pool, pool.acquire() as db:
        if arguments.command == "verify":
            return 0 if await find(db, sys.stdin.read().strip()) else 1
        sys.stdout.write(await create(db, arguments.name, arguments.scope) + "\n")
        return 0


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="keys", description="API keys of the gateway")
    commands = parser.add_subparsers(dest="command", required=True)
    create_command = commands.add_parser("create", help="print a new key")
    create_command.add_argument("--name", required=True)
    create_command.add_argument("--scope", "--scopes", choices=SCOPES, default="read")
    commands.add_parser("verify", help="exit with 0 if the key on standard input is valid")
    sys.exit(asyncio.run(_run(parser.parse_args())))


if __name__ == "__main__":
    main()
