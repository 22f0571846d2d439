"""The other reports of the catalog, compared with a count in plain Python."""

import csv
import datetime as dt
import io
import random
import re
from collections import Counter, defaultdict
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest

from tests.acceptance.import_files import get, imported
from tests.stack import Stack, empty

CUSTOMERS = ("customer_id", "first_name", "last_name", "email", "account_balance", "created_at")
CENT = Decimal("0.01")
WORDS = [
    "the",
    "rye",
    "mill",
    "Rye",
    "grinds",
    "spelt;",
    "the",
    "Mill's",
    "stone,",
    "the",
    "RYE!",
    "Über",
    "straße",
    "naïve",
    "12",
    "a_b",
]


@pytest.fixture(scope="module", autouse=True)
async def _emptied(stack: Stack) -> None:
    await empty(stack)


def text(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def customers(chance: random.Random, count: int) -> list[dict[str, Any]]:
    """Some without a balance, some without a day on which they joined."""
    return [
        {
            "customer_id": f"C{number}",
            "first_name": "Ada",
            "last_name": "Berg",
            "email": f"c{number}@example.com",
            "account_balance": "" if chance.random() < 0.1 else f"{chance.randint(-50_000, 90_000) / 100:.2f}",
            "created_at": ""
            if chance.random() < 0.1
            else f"{chance.choice((2021, 2022))}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}T23:59:59Z",
        }
        for number in range(count)
    ]


def balances(rows: list[dict[str, Any]], first: str, last: str) -> list[dict[str, Any]]:
    months: dict[str, list[Decimal]] = defaultdict(list)
    for row in rows:
        if row["created_at"] and first <= row["created_at"][:7] <= last:
            months[row["created_at"][:7]].append(Decimal(row["account_balance"] or 0))
    return [
        {
            "month": f"{month}-01",
            "customers": len(found),
            "balance": float(sum(found)),
            "mean_balance": float((sum(found, Decimal()) / len(found)).quantize(CENT, ROUND_HALF_UP)),
        }
        for month, found in sorted(months.items())
    ]


async def test_balances_by_the_month_of_joining(stack: Stack) -> None:
    chance = random.Random(1)
    rows = customers(chance, 300)
    await imported(stack, "customers", text(CUSTOMERS, rows))
    path = "/v1/reports/balance_by_join_month"
    assert (await get(stack, path))["data"] == balances(rows, "0000", "9999")
    some = await get(stack, path, **{"from": "2021-03-17", "to": "2021-09-01"})
    assert some["data"] == balances(rows, "2021-03", "2021-09")
    # Half of them move to another month, and have something else on their accounts.
    moved = [*customers(chance, 150), *rows[150:]]
    await imported(stack, "customers", text(CUSTOMERS, moved))
    assert (await get(stack, path))["data"] == balances(moved, "0000", "9999")
    assert (await get(stack, path, **{"from": "1990-01-01", "to": "1991-01-01"}))["data"] == []


async def test_contacts_of_each_domain(stack: Stack) -> None:
    chance = random.Random(2)
    domains = ["example.com", "Example.COM", "mill.example", "a.b.example", "weir.example"]
    emails = [f"user{number}@{chance.choice(domains)}" for number in range(200)]
    await imported(stack, "contacts", text(("email",), [{"email": email} for email in emails]))
    counts = Counter(email.rpartition("@")[2].lower() for email in emails)
    expected = [
        {"domain": domain, "contacts": count, "percent": float(Decimal(count * 100) / 200)}
        for domain, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    path = "/v1/reports/contacts_by_domain"
    assert (await get(stack, path))["data"] == expected
    assert (await get(stack, path, top=2))["data"] == expected[:2]
    assert (await stack.client.get(path, params={"top": 0})).status_code == 422


async def test_the_most_frequent_words_of_each_month(stack: Stack) -> None:
    chance = random.Random(3)
    rows = [
        {
            "content": " ".join(chance.choices(WORDS, k=chance.randint(1, 12))),
            "created_at": dt.datetime(2023, chance.randint(1, 4), chance.randint(1, 28), 12, tzinfo=dt.UTC).isoformat(),
        }
        for _ in range(120)
    ]
    await imported(stack, "paragraphs", text(("content", "created_at"), rows))
    months: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        months[row["created_at"][:7]].update(set(re.findall(r"\w+", row["content"].lower())))

    def expected(top: int, letters: int = 1, first: str = "", last: str = "9999") -> list[dict[str, Any]]:
        found = []
        for month in sorted(month for month in months if first <= month <= last):
            words = [(word, count) for word, count in months[month].items() if len(word) >= letters]
            words.sort(key=lambda item: (-item[1], item[0]))
            found += [{"month": f"{month}-01", "word": word, "paragraphs": count} for word, count in words[:top]]
        return found

    path = "/v1/reports/words_over_time"
    assert (await get(stack, path))["data"] == expected(10)
    assert (await get(stack, path, top=3, letters=5))["data"] == expected(3, 5)
    some = await get(stack, path, top=1, **{"from": "2023-02-28", "to": "2023-03-01"})
    assert some["data"] == expected(1, first="2023-02", last="2023-03")
