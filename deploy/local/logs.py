"""The parts' logs for people: one readable stream, whatever each part writes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from deploy.local.state import Home

TAIL_BYTES = 512 * 1024
LOOK_EVERY = 0.2
STAMP = re.compile(r"^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,6}))?(?:Z|[+-]\d\d:?\d\d| UTC)?\s*")
SPOKEN = ("timestamp", "level", "service", "event", "exception")


@dataclass(frozen=True)
class Line:
    part: str
    stamp: str
    text: str

    def __str__(self) -> str:
        return f"{self.stamp[11:23]:12} {self.part:10} {self.text}"


def last(home: Home, names: Iterable[str], count: int) -> list[Line]:
    """The last lines of all these logs together, in the order in which they were written."""
    lines = [line for name in names for line in _read(name, _tail(home.log(name)), "")]
    return sorted(lines, key=lambda line: line.stamp)[-count:] if count else []


def tail(home: Home, name: str, count: int) -> list[str]:
    return [line.text for line in last(home, [name], count)]


def follow(home: Home, names: Iterable[str]) -> Iterator[Line]:
    """What is written from now on, for ever."""
    places = {name: _size(home.log(name)) for name in names}
    stamps = dict.fromkeys(places, "")
    while True:
        for name, place in places.items():
            if (size := _size(home.log(name))) < place:
                places[name] = 0  # it was trimmed
            elif size > place:
                with home.log(name).open("rb") as log:
                    log.seek(place)
                    whole = log.read().rpartition(b"\n")
                places[name] += len(whole[0]) + len(whole[1])
                for line in _read(name, whole[0].decode(errors="replace"), stamps[name]):
                    stamps[name] = line.stamp
                    yield line
        time.sleep(LOOK_EVERY)


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


def _read(part: str, text: str, stamp: str) -> Iterator[Line]:
    # A line without a time of its own, such as a traceback's, belongs to the one before it.
    for raw in text.splitlines():
        line = _structured(part, raw) if raw.startswith("{") else _plain(part, raw)
        stamp = line.stamp or stamp
        yield Line(part, stamp, line.text)


def _plain(part: str, raw: str) -> Line:
    if (match := STAMP.match(raw)) is None:
        return Line(part, "", raw)
    day, second, fraction = match.groups(default="0")
    return Line(part, f"{day}T{second}.{fraction:0<6}", raw[match.end() :])


def _structured(part: str, raw: str) -> Line:
    try:
        entry = msgspec.json.decode(raw, type=dict[str, object])
    except msgspec.DecodeError:
        return _plain(part, raw)
    stamp = _plain(part, str(entry.get("timestamp", ""))).stamp
    rest = " ".join(f"{key}={value}" for key, value in entry.items() if key not in SPOKEN and value != "")
    exception = f"\n{entry['exception']}" if "exception" in entry else ""
    text = f"{entry.get('level', '-')!s:7} {entry.get('event', '')} {rest}".rstrip()
    return Line(part, stamp, text + exception)
