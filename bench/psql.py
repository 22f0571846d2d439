r"""Postgres' own client against the stack's server: the peer of all loading, with tables of its own beside ours."""

import re
import subprocess
import time
from pathlib import Path

from bench.stack import Stack

COLUMNS = (
    "id bigint NOT NULL, name text NOT NULL, hired_at timestamptz NOT NULL,"
    " department_id bigint NOT NULL, job_id bigint NOT NULL"
)
_QUIET = "SET client_min_messages = warning"


def run(stack: Stack, *commands: str) -> str:
    """What the commands, run one after another in one session, print."""
    psql = ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"]
    return subprocess.run(
        [*psql, "--dbname", stack.env["DATABASE_URL"], *(f"--command={command}" for command in commands)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def seconds(stack: Stack, *commands: str) -> float:
    """How long they take, with the start of psql."""
    began = time.perf_counter()
    run(stack, *commands)
    return time.perf_counter() - began


def milliseconds(stack: Stack, command: str) -> float:
    """How long it takes by psql's own clock, without its start."""
    told = re.search(r"^Time: ([\d.]+) ms", run(stack, r"\timing on", command), re.MULTILINE)
    assert told, command
    return float(told[1])


def create(stack: Stack, *, key: bool = True) -> None:
    """An empty table `public.peer` with the columns, and the key, of ours."""
    columns = f"{COLUMNS}, PRIMARY KEY (id)" if key else COLUMNS
    run(stack, _QUIET, "DROP TABLE IF EXISTS public.peer", f"CREATE TABLE public.peer ({columns})")


def copy(path: Path, table: str = "public.peer") -> str:
    r"""The command that copies a file from the client's side."""
    return f"\\copy {table} FROM '{path}' (FORMAT csv)"


def settle(stack: Stack) -> None:
    """What earlier measurements left to be written is written, so that the next one does not pay for it."""
    run(stack, "CHECKPOINT")


def drop(stack: Stack, dataset: str) -> None:
    """Frees the disk that a dataset's rows took; nothing is loaded into it afterwards."""
    run(stack, _QUIET, f'DROP TABLE IF EXISTS data."{dataset}"', "CHECKPOINT")
