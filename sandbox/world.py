"""Data of the simulated APIs: customers, contacts and items, the same at every start."""

import contextlib
import random
import tomllib
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

Row = dict[str, Any]

SEED = 1842
CUSTOMERS, CONTACTS, ITEMS = 21, 48, 250
SENTENCES = 50
MAX_REQUESTS = 1000
FIRST_DAY = datetime(2024, 1, 1, 6, tzinfo=UTC)
WORDS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("words.toml").read_text())


class World:
    """Tables by name, each with its rows by ID.

    `requests` are the last requests. `max_concurrent` is the largest number of requests at the same time.
    """

    def __init__(self) -> None:
        self.requests: deque[str] = deque(maxlen=MAX_REQUESTS)
        self._active = 0
        self.reset()

    def reset(self) -> None:
        """Restores the initial data."""
        rng = random.Random(SEED)  # noqa: S311 - not for secrets: the same data every time
        self.tables: dict[str, dict[str, Row]] = {
            "customers": {row["customer_id"]: row for row in _customers(rng)},
            "contacts": {row["id"]: row for row in _contacts(rng)},
            "items": {str(row["id"]): row for row in _items(rng)},
        }
        self._changes = 0
        self._paragraphs = 0
        self.max_concurrent = 0
        self.requests.clear()

    @contextlib.contextmanager
    def record(self, request: str) -> Iterator[None]:
        """Records a request, and counts it as active during the block."""
        self.requests.append(request)
        self._active += 1
        self.max_concurrent = max(self.max_concurrent, self._active)
        try:
            yield
        finally:
            self._active -= 1

    def rows(self, table: str) -> list[Row]:
        """Returns the rows in the order of the API: contacts by their last change, others by ID."""
        rows = self.tables[table]
        if table == "contacts":
            return sorted(rows.values(), key=lambda row: (row["updated_at"], row["id"]))
        return [rows[key] for key in sorted(rows, key=lambda key: (len(key), key))]

    def put(self, table: str, key: str, changes: Row) -> Row:
        """Creates or changes a row. `updated_at` of a contact becomes the latest of all."""
        name = {"customers": "customer_id"}.get(table, "id")
        row = self.tables[table].setdefault(key, {name: int(key) if table == "items" else key})
        row.update(changes)
        if table == "contacts":
            self._changes += 1
            row["updated_at"] = _iso(FIRST_DAY + timedelta(days=365, minutes=self._changes))
        return row

    def next_paragraph(self) -> str:
        """Returns a different random paragraph with every call."""
        self._paragraphs += 1
        rng = random.Random(f"{SEED}/{self._paragraphs}")  # noqa: S311
        return " ".join(_sentence(rng) for _ in range(rng.randint(SENTENCES - 5, SENTENCES + 5)))


def _customers(rng: random.Random) -> Iterator[Row]:
    for number in range(1, CUSTOMERS + 1):
        first, last = _choose(rng, "first_names"), _choose(rng, "last_names")
        born = datetime(1950, 1, 1, tzinfo=UTC) + timedelta(days=rng.randrange(19000))
        yield {
            "customer_id": f"CUST{number:03}",
            "first_name": first,
            "last_name": last,
            "email": f"{first}.{number}@shop.example".lower(),
            "phone": f"+44-20-{rng.randrange(10**7):07}",
            "address": f"{rng.randrange(1, 99)} {_choose(rng, 'streets')}, {_choose(rng, 'towns')}",
            "date_of_birth": f"{born:%Y-%m-%d}",
            "account_balance": rng.randrange(-50000, 900000) / 100,
            "created_at": _iso(FIRST_DAY + timedelta(hours=31 * number)),
        }


def _contacts(rng: random.Random) -> Iterator[Row]:
    for number in range(1, CONTACTS + 1):
        first, last = _choose(rng, "first_names"), _choose(rng, "last_names")
        yield {
            "id": f"NB-{number:04}",
            "name": {"first": first, "last": last},
            "email": f"{first}.{number}@nimbus.example".lower(),
            "notes": _sentence(rng),
            "updated_at": _iso(FIRST_DAY + timedelta(hours=5 * number)),
        }


def _items(rng: random.Random) -> Iterator[Row]:
    for number in range(1, ITEMS + 1):
        category = _choose(rng, "categories")
        yield {
            "id": 5000 + number,
            "name": f"{_choose(rng, 'adjective')} {_choose(rng, 'noun')} {category}".capitalize(),
            "category": category,
            "price": rng.randrange(50, 20000) / 100,
            "quantity": rng.randrange(500),
            "available": rng.random() < 0.9,  # noqa: PLR2004
            "delivered_on": f"{FIRST_DAY + timedelta(days=rng.randrange(300)):%Y-%m-%d}",
            "description": _sentence(rng),
        }


def _sentence(rng: random.Random) -> str:
    subject, object_ = (f"the {_choose(rng, 'adjective')} {_choose(rng, 'noun')}" for _ in range(2))
    place = f"{_choose(rng, 'preposition')} the {_choose(rng, 'noun')}"
    return f"{subject} {_choose(rng, 'verb')} {object_} {place}.".capitalize()


def _choose(rng: random.Random, words: str) -> str:
    return str(rng.choice(list(WORDS[words])))


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
