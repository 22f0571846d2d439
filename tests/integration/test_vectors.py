"""Documents in binary tsvector form equal those that Postgres makes from text."""

import random
import string

from services.indexer.documents import tokens, vectors
from shared.search import tokenizer
from tests.integration.ingestor_runner import connected

LABELS = "ABCD"
LETTERS = [*string.ascii_lowercase[:6], "ä", "ы", "漢", "\U0001f110\u0301", "𐐨", "1", "_"]


async def test_what_is_written_is_what_postgres_would_have_made(database: dict[str, str]) -> None:
    dice = random.Random(4)
    known = ["".join(dice.choices(LETTERS, k=dice.randint(1, 4))) for _ in range(300)]
    rows = [[" ".join(dice.choices(known, k=dice.randint(0, 30))) for _ in LABELS] for _ in range(200)]
    rows += [[" ".join(["same"] * 300), "", "same other same", ""], ["x" * 500, "", "", ""]]
    # Of a word that stands at the last place in two fields, Postgres keeps the letter of any.
    late = " ".join(f"late{number}" for number in range(300))
    rows += [[" ".join(dice.choices(known, k=tokenizer.MAX_WORDS)), late, "", ""], ["", "", "", ""]]
    found = tokens.truncate(tokens.tokenize({label: [row[n] for row in rows] for n, label in enumerate(LABELS)}))
    async with connected(database["indexer"], "indexer") as pool, pool.acquire() as db:
        rows_found = await db.fetch(
            "SELECT made = wanted::tsvector AS same, made::text AS made, wanted FROM unnest($1::tsvector[], $2::text[])"
            " AS n (made, wanted)",
            vectors.encode(found, LABELS, len(rows)),
            [_as_text(row) for row in rows],
        )
    assert [row["made"][:200] for row in rows_found if not row["same"]] == []
    assert len(rows_found) == len(rows)


async def test_a_text_that_is_too_long_for_a_document_is_cut(database: dict[str, str]) -> None:
    many = " ".join(f"{number:0200d}" for number in range(tokenizer.MAX_WORDS))
    found = tokens.truncate(tokens.tokenize({"a": ["short", many, "other"]}))
    async with connected(database["indexer"], "indexer") as pool, pool.acquire() as db:
        lengths = [
            row["length"]
            for row in await db.fetch(
                "SELECT length(made) AS length FROM unnest($1::tsvector[]) WITH ORDINALITY AS n (made, at) ORDER BY at",
                vectors.encode(found, "A", 3),
            )
        ]
    assert lengths == [1, tokens.MAX_DOCUMENT_BYTES // 208, 1]


def _as_text(row: list[str]) -> str:
    place, entries = 0, []
    for label, text in zip(LABELS, row, strict=True):
        for word in tokenizer.tokenize(text):
            place += 1
            # Postgres writes positions without a letter that have the last one.
            entries.append(f"{word}:{place + LABELS.index(label)}{label if label != 'D' else ''}")
    return " ".join(entries)
