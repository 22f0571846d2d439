"""Attempts: failed ones of each message, and deliveries after one that killed its process."""

import os
import socket
from collections.abc import Collection
from uuid import UUID

import msgspec

from shared.contracts.message import Message
from shared.contracts.parts import Problem
from shared.db import Connection

WORKER = f"{socket.gethostname()}:{os.getpid()}"


async def insert_attempt(db: Connection, message: Message, problem: Problem | None) -> int:
    """Inserts an attempt: failed with the problem, or begun if there is none. Returns its number, from 1."""
    number: int = await db.fetchval(
        """
        INSERT INTO attempts (message_id, number, name, job_id, worker, problem)
        SELECT $1, coalesce(max(number), 0) + 1, $2, $3, $4, $5 FROM attempts WHERE message_id = $1
        RETURNING number
        """,
        message.id,
        message.name(),
        getattr(message, "job_id", None),
        WORKER,
        msgspec.to_builtins(problem),
    )
    return number


async def delete_begun(db: Connection, message_id: UUID, number: int) -> None:
    """Deletes an attempt that has ended without killing the process."""
    await db.execute("DELETE FROM attempts WHERE message_id = $1 AND number = $2", message_id, number)


async def count_failed(db: Connection, message_id: UUID) -> int:
    """Counts the failed attempts."""
    count: int = await db.fetchval(
        "SELECT count(*) FROM attempts WHERE message_id = $1 AND problem IS NOT NULL", message_id
    )
    return count


async def count_crashed(db: Connection, message_id: UUID) -> int:
    """Counts the attempts that have neither ended nor failed."""
    count: int = await db.fetchval(
        "SELECT count(*) FROM attempts WHERE message_id = $1 AND problem IS NULL", message_id
    )
    return count


async def select_crashed(db: Connection, message_ids: Collection[UUID]) -> set[UUID]:
    """Returns the ids of those messages that have an attempt which has neither ended nor failed."""
    rows = await db.fetch(
        "SELECT DISTINCT message_id FROM attempts WHERE message_id = ANY($1) AND problem IS NULL", message_ids
    )
    return {row["message_id"] for row in rows}


async def insert_begun(db: Connection, messages: Collection[Message], name: str) -> None:
    """Inserts an attempt that has begun for each message."""
    jobs = {message.id: getattr(message, "job_id", None) for message in messages}
    await db.execute(
        """
        INSERT INTO attempts (message_id, number, name, job_id, worker)
        SELECT id, (SELECT coalesce(max(number), 0) + 1 FROM attempts WHERE message_id = id), $3, job_id, $4
        FROM unnest($1::uuid[], $2::uuid[]) AS m (id, job_id)
        """,
        list(jobs),
        list(jobs.values()),
        name,
        WORKER,
    )


async def delete_all_begun(db: Connection, message_ids: Collection[UUID]) -> None:
    """Deletes this process's attempts at the messages that have not failed."""
    await db.execute(
        "DELETE FROM attempts WHERE message_id = ANY($1) AND problem IS NULL AND worker = $2", message_ids, WORKER
    )
