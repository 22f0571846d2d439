"""Merges the parts' logs into one readable stream."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from deploy.local.state import Home

TAIL_BYTES = 512 * 1024
POLL_SECONDS = 0.2
TIMESTAMP = re.compile(r"^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,6}))?(?:Z|[+-]\d\d:?\d\d| UTC)?\s*")
FIXED_KEYS = ("timestamp", "level", "service", "event", "exception")


@dataclass(frozen=True)
class Line:
    """A line of a part's log; `timestamp` is ISO 8601 and may be empty."""

    part: str
    timestamp: str
    text: str

    def __str__(self) -> str:
        return f"{self.timestamp[11:23]:12} {self.part:10} {self.text}"


def last(home: Home, names: Iterable[str], count: int) -> list[Line]:
    """Returns the last lines of these logs together, in order of time."""
    lines = [line for name in names for line in _parse(name, _tail(home.log(name)), "")]
    return sorted(lines, key=lambda line: line.timestamp)[-count:] if count else []


def follow(home: Home, names: Iterable[str]) -> Iterator[Line]:
    """Yields new lines as they are written; never ends."""
    offsets = {name: _size(home.log(name)) for name in names}
    timestamps = dict.fromkeys(offsets, "")
    while True:
        for name, offset in offsets.items():
            if (size := _size(home.log(name))) < offset:
                offsets[name] = 0  # the supervisor has truncated it
            elif size > offset:
                with home.log(name).open("rb") as log:
                    log.seek(offset)
                    complete, newline, _ = log.read().rpartition(b"\n")
                offsets[name] += len(complete) + len(newline)
                for line in _parse(name, complete.decode(errors="replace"), timestamps[name]):
                    timestamps[name] = line.timestamp
                    yield line
        time.sleep(POLL_SECONDS)


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _tail(log: Path) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as file:
        start = max(0, _size(log) - TAIL_BYTES)
        file.seek(start)
        text = file.read().decode(errors="replace")
    return text.partition("\n")[2] if start else text


def _parse(part: str, text: str, timestamp: str) -> Iterator[Line]:
    # A line without a timestamp, for example of a traceback, gets the one of the line before it.
    for raw in text.splitlines():
        line = _parse_json(part, raw) if raw.startswith("{") else _parse_plain(part, raw)
        timestamp = line.timestamp or timestamp
        yield Line(part, timestamp, line.text)


def _parse_plain(part: str, raw: str) -> Line:
    if (match := TIMESTAMP.match(raw)) is None:
        return Line(part, "", raw)
    day, second, fraction = match.groups(default="0")
    return Line(part, f"{day}T{second}.{fraction:0<6}", raw[match.end() :])


def _parse_json(part: str, raw: str) -> Line:
    try:
        entry = msgspec.json.decode(raw, type=dict[str, object])
    except msgspec.DecodeError:
        return _parse_plain(part, raw)
    timestamp = _parse_plain(part, str(entry.get("timestamp", ""))).timestamp
    rest = " ".join(f"{key}={value}" for key, value in entry.items() if key not in FIXED_KEYS and value != "")
    exception = f"\n{entry['exception']}" if "exception" in entry else ""
    text = f"{entry.get('level', '-')!s:7} {entry.get('event', '')} {rest}".rstrip()
    return Line(part, timestamp, text + exception)
