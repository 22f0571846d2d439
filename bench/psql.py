"""Runs psql on the stack's server: the peer of load measurements, with its own table `public.peer`."""

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
    """Runs the commands in one session and returns their output."""
    psql = ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"]
    return subprocess.run(
        [*psql, "--dbname", stack.env["DATABASE_URL"], *(f"--command={command}" for command in commands)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def seconds(stack: Stack, *commands: str) -> float:
    """Returns the duration in seconds, including the start of psql."""
    began = time.perf_counter()
    run(stack, *commands)
    return time.perf_counter() - began


def milliseconds(stack: Stack, command: str) -> float:
    """Returns the duration in milliseconds as psql reports it."""
    match = re.search(r"^Time: ([\d.]+) ms", run(stack, r"\timing on", command), re.MULTILINE)
    assert match, command
    return float(match[1])


def create(stack: Stack, *, key: bool = True) -> None:
    """Creates an empty table `public.peer` with the same columns, and the same key if `key`."""
    columns = f"{COLUMNS}, PRIMARY KEY (id)" if key else COLUMNS
    run(stack, _QUIET, "DROP TABLE IF EXISTS public.peer", f"CREATE TABLE public.peer ({columns})")


def copy(path: Path, table: str = "public.peer") -> str:
    r"""Returns the `\copy` command for a CSV file."""
    return f"\\copy {table} FROM '{path}' (FORMAT csv)"


def settle(stack: Stack) -> None:
    """Writes out the work of earlier measurements, so that it does not slow the next one."""
    run(stack, "CHECKPOINT")


def drop(stack: Stack, dataset: str) -> None:
    """Drops the table of a dataset to free the disk."""
    run(stack, _QUIET, f'DROP TABLE IF EXISTS data."{dataset}"', "CHECKPOINT")
