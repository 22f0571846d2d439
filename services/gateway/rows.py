"""Queries of what others have written: the rows of a dataset, its documents, reports."""

import datetime as dt
from typing import Any

import asyncpg
import msgspec

from shared.catalog.dataset import ROW_KEY, Dataset
from shared.catalog.report import Report
from shared.db import Connection
from shared.search import values as texts
from shared.search.columns import columns

CANDIDATES = 2000
"""So many matches are ranked; of a word that is almost everywhere, ranking all would take seconds."""
SEARCH_SECONDS = 5.0
REPORT_SECONDS = 15.0


class BadKey(ValueError):
    """The text can't be a key of the dataset."""


class Hit(msgspec.Struct, frozen=True):
    """A row that a search found; a higher score is a better match."""

    row: dict[str, Any]
    score: float


async def select_row(db: Connection, dataset: Dataset, text: str) -> dict[str, Any] | None:
    """By its key as text; the parts of a compound key are separated by commas. Raises BadKey."""
    key = to_key(dataset, text)
    conditions = " AND ".join(f'"{name}" = ${number}' for number, name in enumerate(dataset.key, 1))
    row = await db.fetchrow(f'SELECT {_columns(dataset)} FROM data."{dataset.name}" WHERE {conditions}', *key)
    return dict(row) if row else None


def to_key(dataset: Dataset, text: str) -> list[Any]:
    """The key's values. Raises BadKey."""
    parts = text.split(",") if len(dataset.key) > 1 else [text]
    if len(parts) != len(dataset.key):
        raise BadKey(f"the key has the parts {', '.join(dataset.key)}, separated by commas")
    known = columns(dataset)
    values = []
    for name, part in zip(dataset.key, parts, strict=True):
        try:
            values.append(texts.read(known[name].type, part))
        except texts.NotOfType as error:
            raise BadKey(f"{name} {error}") from error
    return values


async def search(db: Connection, dataset: Dataset, language: str, q: str, *, limit: int) -> tuple[list[Hit], int]:
    """The best hits, and how many rows match, counted up to CANDIDATES. `q` is any text, in web search grammar."""
    try:
        async with db.transaction(readonly=True):
            rows = await db.fetch(
                f"""
                WITH found AS MATERIALIZED (
                    SELECT {_quoted(dataset.key)}, _words FROM documents."{dataset.name}"
                    WHERE _words @@ websearch_to_tsquery($1::text::regconfig, $2) LIMIT $3
                ), ranked AS (
                    SELECT {_quoted(dataset.key)}, count(*) OVER () AS total,
                           ts_rank_cd(_words, websearch_to_tsquery($1::text::regconfig, $2), 1) AS score
                    FROM found ORDER BY score DESC, {_quoted(dataset.key)} LIMIT $4
                )
                SELECT {_columns(dataset, "r")}, ranked.score AS _score, ranked.total AS _total
                FROM ranked JOIN data."{dataset.name}" r USING ({_quoted(dataset.key)})
                ORDER BY ranked.score DESC, {_quoted(dataset.key)}
                """,
                language,
                q.replace("\0", " "),
                CANDIDATES,
                limit,
                timeout=SEARCH_SECONDS,
            )
    except asyncpg.UndefinedTableError:
        return [], 0  # declared a moment ago, and not a row loaded
    hits = [Hit({name: value for name, value in row.items() if name[0] != "_"}, row["_score"]) for row in rows]
    return hits, rows[0]["_total"] if rows else 0


async def select_report(
    db: Connection, report: Report, values: list[Any]
) -> tuple[list[str], list[dict[str, Any]], dict[str, int], dt.datetime]:
    """Columns, rows, the versions of the datasets read, and the time; all of one snapshot."""
    async with db.transaction(isolation="repeatable_read", readonly=True):
        statement = await db.prepare(f"SELECT * FROM ({report.statement()}) report LIMIT {report.row_limit}")
        rows = await statement.fetch(*values, timeout=REPORT_SECONDS)
        versions = await db.fetch(
            "SELECT name, version FROM ingestor.datasets WHERE name = ANY($1::text[])", list(report.datasets)
        )
        now: dt.datetime = await db.fetchval("SELECT now()")
    columns = [attribute.name for attribute in statement.get_attributes()]
    return columns, [dict(row) for row in rows], {row["name"]: row["version"] for row in versions}, now


def _columns(dataset: Dataset, table: str = "") -> str:
    names = [field.name for field in dataset.fields]
    if not dataset.primary_key:
        names.append(ROW_KEY)
    prefix = f"{table}." if table else ""
    return ", ".join(f'{prefix}"{name}"' for name in names)


def _quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names)
