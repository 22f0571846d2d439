"""API keys: made once, shown once, kept as a hash.

`python -m services.gateway.http.api_keys create --name NAME --scope SCOPE` prints a new key; `… verify` reads a key
from standard input and exits with 0 if it is valid. Both need DATABASE_URL of the gateway's role.
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
"""Each allows what those before it allow."""
PREFIX = "mr"


class Key(msgspec.Struct, frozen=True):
    """A key that is neither expired nor revoked."""

    id: str
    name: str
    hash: bytes
    scope: str

    def allows(self, scope: str) -> bool:
        """Whether the key is good for a route that needs `scope`."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


async def insert_key(db: Connection, number: str, name: str, digest: bytes, scope: str) -> None:
    """The key's hash; the key itself is not kept."""
    await db.execute(
        "INSERT INTO api_keys (id, name, hash, scope) VALUES ($1, $2, $3, $4)", number, name, digest, scope
    )


async def select_key(db: Connection, number: str) -> dict[str, Any] | None:
    """A key that is neither expired nor revoked."""
    row = await db.fetchrow(
        "SELECT id, name, hash, scope FROM api_keys"
        " WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
        number,
    )
    return dict(row) if row else None


async def create(db: Connection, name: str, scope: str) -> str:
    """Returns the key; afterwards nobody can tell it."""
    # The secret has 256 bits, so a plain hash of it can't be guessed.
    number, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    await insert_key(db, number, name, hashlib.sha256(secret.encode()).digest(), scope)
    return f"{PREFIX}_{number}_{secret}"


async def find(db: Connection, text: str) -> Key | None:
    """The key that `text` is, if it is one."""
    prefix, _, rest = text.partition("_")
    number, _, secret = rest.partition("_")
    if prefix != PREFIX or not number or not secret:
        return None
    row = await select_key(db, number)
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
    """The command."""
    parser = argparse.ArgumentParser(prog="keys", description="API keys of the gateway")
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("create", help="print a new key")
    making.add_argument("--name", required=True)
    making.add_argument("--scope", "--scopes", choices=SCOPES, default="read")
    commands.add_parser("verify", help="end with 0 if the key on standard input is good")
    sys.exit(asyncio.run(_run(parser.parse_args())))


if __name__ == "__main__":
    main()
