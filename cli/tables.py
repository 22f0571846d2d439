"""Prints tables and JSON to standard output."""

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

MAX_CELL_LENGTH = 160
PIPE_WIDTH = 10_000


class Count(int):
    """A number that is printed with thousands separators. IDs and years are plain ints."""

    def __str__(self) -> str:
        return f"{int(self):,}"


def print_json(body: bytes) -> None:
    """Prints a JSON document, indented."""
    click.echo(msgspec.json.format(body))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints a table with numbers aligned right. A pipe gets whole lines without a frame."""
    console = Console(highlight=False)
    rows = list(rows)
    table = Table(box=SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    for number, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[number], int | float | Decimal) for row in rows)
        table.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    if console.is_terminal:
        console.print(table)
        return
    console.width = PIPE_WIDTH
    with console.capture() as captured:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def printable(text: str) -> str:
    """Escapes line ends and control characters, so that data cannot control the terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _cell(value: object) -> Text:
    if value is None:
        return Text("")
    if isinstance(value, Text):
        value.truncate(MAX_CELL_LENGTH, overflow="ellipsis")
        return value
    if isinstance(value, bool | dict | list):
        value = json.dumps(value, default=str, ensure_ascii=False)
    text = printable(str(value))
    return Text(text if len(text) <= MAX_CELL_LENGTH else f"{text[: MAX_CELL_LENGTH - 1]}…")
