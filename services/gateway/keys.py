"""API keys: made once, shown once, kept as a hash.

`python -m services.gateway.keys create --name NAME --scope SCOPE` prints a new key, `… verify` reads one from standard
input and ends with 0 if it is good. Both need DATABASE_URL of the gateway's role.
"""

import argparse
import asyncio
import hashlib
import hmac
import os
import secrets
import sys

import msgspec

from services.gateway import queries
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


async def create(db: Connection, name: str, scope: str) -> str:
    """Returns the key; afterwards nobody can tell it."""
    # The secret has 256 bits, so a plain hash of it can't be guessed.
    number, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    await queries.insert_key(db, number, name, hashlib.sha256(secret.encode()).digest(), scope)
    return f"{PREFIX}_{number}_{secret}"


async def find(db: Connection, text: str) -> Key | None:
    """The key that `text` is, if it is one."""
    prefix, _, rest = text.partition("_")
    number, _, secret = rest.partition("_")
    if prefix != PREFIX or not number or not secret:
        return None
    row = await queries.select_key(db, number)
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
