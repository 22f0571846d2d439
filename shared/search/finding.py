"""How a question becomes an answer: what its words mean, which rows have them, what was misspelt, what to show."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from shared.catalog.dataset import Dataset, Field
from shared.db import Connection
from shared.db.faults import DROPPED
from shared.search import correcting, cursors, facets, highlighting, matching, meaning, ordering, terms
from shared.search.columns import columns
from shared.search.index import Fresh, Index, select_fresh, select_index
from shared.search.matching import Matches, Search
from shared.search.meaning import Families
from shared.search.question import Correction, Found, Hit, Meta, Question, Total
from shared.search.terms import Asked

FEW = 5
"""Hits: less than so many, and a misspelt word may be why."""
SCORE = Field(name="_score", type="number", required=True)
CUT = f"More than {terms.MOST_TERMS} words: the last ones were left out."
TIME = "Time ran out before all rows were seen that may match: more may, and better ones. Ask for less common words."


class NotBuilt(Exception):
    """The documents of the dataset are being made for the first time."""


class Understood(NamedTuple):
    """The search that a question comes down to, and what was corrected for it."""

    search: Search
    corrections: list[Correction]
    families: Families


async def find(db: Connection, dataset: Dataset, question: Question) -> Found:
    """Raises NotBuilt, and BadQuestion for a cursor or a filter that doesn't fit the dataset."""
    try:
        return await _find(db, dataset, question)
    except DROPPED:  # in this moment another generation of documents has taken over
        return await _find(db, dataset, question)


async def _find(db: Connection, dataset: Dataset, question: Question) -> Found:
    began = time.monotonic()
    index = await select_index(db, dataset.name)
    if index is None:
        raise NotBuilt(dataset.name)
    # Before the search, which sees what was indexed by now, and perhaps more.
    fresh = await select_fresh(db, dataset.name)
    asked = terms.exactly(question.words, question.operator) if question.words else terms.read(question.q)
    understood, matches = await _match(db, index, dataset, question, asked)
    search = understood.search
    return Found(
        data=[_hit(search, row) for row in matches.rows[: question.limit]],
        total=await _total(db, understood, matches, fresh),
        facets=await facets.select(db, search) if question.facets else {},
        next=_next(search, matches),
        meta=Meta(
            version=fresh.indexed,
            dataset_version=fresh.dataset,
            words=_words(search),
            corrections=understood.corrections,
            ranked=0 if question.order else min(matches.total, matching.CANDIDATES),
            complete=matches.complete,
            detail=" ".join(([] if matches.complete else [TIME]) + ([CUT] if asked.cut else [])),
            seconds=round(time.monotonic() - began, 4),
        ),
    )


async def _match(
    db: Connection, index: Index, dataset: Dataset, question: Question, asked: Asked
) -> tuple[Understood, Matches]:
    families = await meaning.select_families(db, index, asked)
    understood = _understood(index, dataset, question, asked, families)
    after = _after(understood.search)
    matches = await matching.select(db, understood.search, after)
    if question.typos and matches.complete and matches.total < FEW and asked.clauses:
        wider, corrections = await correcting.correct(db, index, asked, families)
        if corrections:
            understood = _understood(index, dataset, question, asked, wider)._replace(corrections=corrections)
            matches = await matching.select(db, understood.search, after)
    return understood, matches


def _understood(index: Index, dataset: Dataset, question: Question, asked: Asked, families: Families) -> Understood:
    anything = not question.words and not question.q.strip()
    meant = None if anything else meaning.mean(asked, families, index, question.fields)
    if anything and not question.order:
        question = _ordered(question, ordering.read(dataset, ""))
    return Understood(Search(index, dataset, question, meant), [], families)


def _ordered(question: Question, order: tuple[ordering.Term, ...]) -> Question:
    return msgspec.structs.replace(question, order=order)


async def _total(db: Connection, understood: Understood, matches: Matches, fresh: Fresh) -> Total:
    if not matches.capped:
        return Total(matches.total, "eq")
    if (documents := _counted(understood)) is not None and fresh.counted >= fresh.indexed:
        return Total(documents, "eq")
    if understood.search.question.exact_total and (count := await matching.count(db, understood.search)) is not None:
        return Total(count, "eq")
    return Total(matches.total, "gte")


def _counted(understood: Understood) -> int | None:
    """The documents of a single word, which the vocabulary knows."""
    search = understood.search
    if search.meaning is None or not search.is_plain or search.question.fields or len(search.meaning.words) != 1:
        return None
    families = [family for family in understood.families.values() if family]
    single = len(understood.families) == 1 and not search.meaning.prefixes and "!" not in search.meaning.strict
    return families[0][0].documents if single else None


def _words(search: Search) -> list[str]:
    return (
        [*search.meaning.words, *(f"{beginning}*" for beginning in search.meaning.prefixes)] if search.meaning else []
    )


def _hit(search: Search, row: Any) -> Hit:
    shown = {name: row[name] for name in columns(search.dataset)}
    if search.meaning is None:
        return Hit(shown, 0.0)
    marked, prefixes = frozenset(search.meaning.words), search.meaning.prefixes
    return Hit(
        shown,
        row["_score"],
        {name: highlighting.fragments(row[name], marked, prefixes) for name in search.question.highlight},
    )


def _after(search: Search) -> list[Any]:
    question = search.question
    if question.cursor is None:
        return []
    known = columns(search.dataset)
    keys = [known[name] for name in search.dataset.key]
    fields: Sequence[Field] = [known[term.field] for term in question.order] if question.order else [SCORE, *keys]
    return cursors.read(question.cursor, question.place, fields)


def _next(search: Search, matches: Matches) -> str | None:
    question = search.question
    if len(matches.rows) <= question.limit:
        return None
    last = matches.rows[question.limit - 1]
    if question.order:
        return cursors.write(question.place, [last[f"_last{number}"] for number in range(len(question.order))])
    return cursors.write(question.place, [last["_score"], *(last[name] for name in search.dataset.key)])
