"""Renders results as a table, for the terminal and for docs/performance.md."""

import datetime as dt
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from bench import psql
from bench.stack import Stack
from deploy.local.state import REPOSITORY

PAGE = REPOSITORY / "docs" / "performance.md"
HEAD = ("what", "result", "ratio", "target")


class Row(NamedTuple):
    """A row of the table; `ratio` is relative to the peer, whose own row has 1.00."""

    label: str
    result: str
    ratio: float | None = None
    target: str = ""


def at_most(value: float, limit: float, unit: str = "") -> str:
    """Returns the target, and whether it was met."""
    return f"≤ {limit:g}{unit}: {'met' if value <= limit else 'MISSED'}"


def at_least(value: float, limit: float, unit: str = "") -> str:
    """Returns the target, and whether it was met."""
    return f"≥ {limit:g}{unit}: {'met' if value >= limit else 'MISSED'}"


def render(rows: list[Row]) -> str:
    """Returns an aligned Markdown table."""
    cells = [HEAD, *((row.label, row.result, f"{row.ratio:.2f}" if row.ratio else "", row.target) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    label, *numbers, target = widths
    lines = [
        f"| {line[0]:{label}} | " + " | ".join(map(str.rjust, line[1:3], numbers)) + f" | {line[3]:{target}} |"
        for line in cells
    ]
    rule = f"|{'-' * (label + 2)}|" + "".join(f"{'-' * (width + 1)}:|" for width in numbers) + f"{'-' * (target + 2)}|"
    return "\n".join([lines[0], rule, *lines[1:]])


def describe_machine(stack: Stack, load: float) -> str:
    """Returns hardware, versions and time; warns if the load average before the run was above 1."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    facts = [
        f"{os.cpu_count()} cores ({_processor()})",
        f"{memory:.0f} GiB",
        f"Postgres {psql.run(stack, 'SHOW server_version').split()[0]}",
        f"RabbitMQ {_broker_version(stack)}",
        f"Python {platform.python_version()}",
        f"Millrace {_commit()}",
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC",
    ]
    return ", ".join(facts) + (f"; NOT IDLE before: load average {load:.1f}" if load > 1 else "")


def publish(measurement: str, rows: list[Row], machine: str, page: Path = PAGE) -> None:
    """Replaces the block of a measurement in the page. Raises ValueError if its markers are missing."""
    mark, end = f"<!-- bench: {measurement} -->", "<!-- end -->"
    before, opened, after = page.read_text().partition(mark)
    _, closed, rest = after.partition(end)
    if not (opened and closed):
        raise ValueError(f"{page} has no {mark} followed by {end}")
    page.write_text(f"{before}{mark}\n{render(rows)}\n\n{machine}\n{end}{rest}")


def _processor() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1] if match else platform.machine()


def _broker_version(stack: Stack) -> str:
    log = stack.home.log("rabbitmq")
    match = re.search(r"RabbitMQ (\d+\.\d+\.\d+)", log.read_text()) if log.exists() else None
    return match[1] if match else "external"


def _commit() -> str:
    git = ["git", "describe", "--always", "--dirty=, changed"]
    return subprocess.run(git, cwd=REPOSITORY, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
