"""What there is outside: customers, contacts and items, the same at every start, until somebody changes them."""

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
REMEMBERED = 1000
DAY_ONE = datetime(2024, 1, 1, 6, tzinfo=UTC)
WORDS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("words.toml").read_text())


class World:
    """Tables by name, each with its rows by id; what it was asked for last stands in `asked`.

    `most_at_once` is how many requests were under way at the same time, when that were most.
    """

    def __init__(self) -> None:
        self.asked: deque[str] = deque(maxlen=REMEMBERED)
        self._under_way = 0
        self.reset()

    def reset(self) -> None:
        """As on the first day."""
        chance = random.Random(SEED)  # noqa: S311 - the same world every time
        self.tables: dict[str, dict[str, Row]] = {
            "customers": {row["customer_id"]: row for row in _customers(chance)},
            "contacts": {row["id"]: row for row in _contacts(chance)},
            "items": {str(row["id"]): row for row in _items(chance)},
        }
        self._changes = 0
        self._told = 0
        self.most_at_once = 0
        self.asked.clear()

    @contextlib.contextmanager
    def being_asked(self, request: str) -> Iterator[None]:
        """For as long as the answer takes."""
        self.asked.append(request)
        self._under_way += 1
        self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            yield
        finally:
            self._under_way -= 1

    def rows(self, table: str) -> list[Row]:
        """In the order in which the outside system lists them: contacts by their last change, all else by id."""
        rows = self.tables[table]
        if table == "contacts":
            return sorted(rows.values(), key=lambda row: (row["updated_at"], row["id"]))
        return [rows[key] for key in sorted(rows, key=lambda key: (len(key), key))]

    def put(self, table: str, key: str, changes: Row) -> Row:
        """Changes the row, or makes it. A contact's `updated_at` becomes later than all others."""
        name = {"customers": "customer_id"}.get(table, "id")
        made = {name: int(key) if table == "items" else key}
        row = self.tables[table].setdefault(key, made)
        row.update(changes)
        if table == "contacts":
            self._changes += 1
            row["updated_at"] = _written(DAY_ONE + timedelta(days=365, minutes=self._changes))
        return row

    def tell(self) -> str:
        """A paragraph, another one each time."""
        self._told += 1
        chance = random.Random(f"{SEED}/{self._told}")  # noqa: S311
        return " ".join(_sentence(chance) for _ in range(chance.randint(SENTENCES - 5, SENTENCES + 5)))


def _customers(chance: random.Random) -> Iterator[Row]:
    for number in range(1, CUSTOMERS + 1):
        first, last = _one(chance, "first_names"), _one(chance, "last_names")
        born = datetime(1950, 1, 1, tzinfo=UTC) + timedelta(days=chance.randrange(19000))
        yield {
            "customer_id": f"CUST{number:03}",
            "first_name": first,
            "last_name": last,
            "email": f"{first}.{number}@shop.example".lower(),
            "phone": f"+44-20-{chance.randrange(10**7):07}",
            "address": f"{chance.randrange(1, 99)} {_one(chance, 'streets')}, {_one(chance, 'towns')}",
            "date_of_birth": f"{born:%Y-%m-%d}",
            "account_balance": chance.randrange(-50000, 900000) / 100,
            "created_at": _written(DAY_ONE + timedelta(hours=31 * number)),
        }


def _contacts(chance: random.Random) -> Iterator[Row]:
    for number in range(1, CONTACTS + 1):
        first, last = _one(chance, "first_names"), _one(chance, "last_names")
        yield {
            "id": f"NB-{number:04}",
            "name": {"first": first, "last": last},
            "email": f"{first}.{number}@nimbus.example".lower(),
            "notes": _sentence(chance),
            "updated_at": _written(DAY_ONE + timedelta(hours=5 * number)),
        }


def _items(chance: random.Random) -> Iterator[Row]:
    for number in range(1, ITEMS + 1):
        category = _one(chance, "categories")
        yield {
            "id": 5000 + number,
            "name": f"{_one(chance, 'adjective')} {_one(chance, 'noun')} {category}".capitalize(),
            "category": category,
            "price": chance.randrange(50, 20000) / 100,
            "quantity": chance.randrange(500),
            "available": chance.random() < 0.9,  # noqa: PLR2004
            "delivered_on": f"{DAY_ONE + timedelta(days=chance.randrange(300)):%Y-%m-%d}",
            "description": _sentence(chance),
        }


def _sentence(chance: random.Random) -> str:
    who, what = (f"the {_one(chance, 'adjective')} {_one(chance, 'noun')}" for _ in range(2))
    where = f"{_one(chance, 'preposition')} the {_one(chance, 'noun')}"
    return f"{who} {_one(chance, 'verb')} {what} {where}.".capitalize()


def _one(chance: random.Random, words: str) -> str:
    return str(chance.choice(list(WORDS[words])))


def _written(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
