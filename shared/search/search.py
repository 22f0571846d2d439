"""How a question becomes an answer: what its words mean, which rows have them, what was misspelt, what to show."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from shared.catalog.dataset import Dataset, Field
from shared.db import Connection
from shared.db.faults import MISSING_TABLE
from shared.search import cursors, execute, expand, facets, highlight, ordering, spelling, terms
from shared.search.columns import columns
from shared.search.execute import Matches, Search
from shared.search.expand import Families
from shared.search.index import Fresh, select_fresh, select_index
from shared.search.query import Correction, Found, Hit, Meta, Question, Total
from shared.search.terms import Asked

FEW = 5
"""Hits: less than so many, and a misspelt word may be why."""
SCORE = Field(name="_score", type="number", required=True)
CUT = f"More than {terms.MOST_TERMS} words: the last ones were left out."
TIME = "Time ran out before all rows were seen that may match: more may, and better ones. Ask for less common words."

END = "Pages by relevance end after the {} hits that were compared, though more match: with an order, all can be read."
OLD = "The search was declared anew: until its documents are made, {} are searched, in the language {}."


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
    except MISSING_TABLE:  # in this moment another generation of documents has taken over
        return await _find(db, dataset, question)


async def _find(db: Connection, dataset: Dataset, question: Question) -> Found:
    began = time.monotonic()
    index = await select_index(db, dataset.name)
    # Before the search, which sees what was indexed by now, and perhaps more.
    fresh = await select_fresh(db, dataset.name)
    if index is None:
        if fresh.dataset:
            raise NotBuilt(dataset.name)
        return _nothing(question, time.monotonic() - began)
    asked = terms.exactly(question.words, question.operator) if question.words else terms.read(question.q)
    understood, matches = await _match(db, Search(index, dataset, question, None, began), asked)
    search = understood.search
    seen = matches.total
    if matches.capped and question.exact_total:
        matches = await execute.count(db, search, matches)
    total = _total(understood, matches, fresh)
    return Found(
        data=[_hit(search, row) for row in matches.rows[: question.limit]],
        total=total,
        facets=facets.read(question.facets, matches.values, approximate=matches.capped),
        next=_next(search, matches),
        meta=Meta(
            version=fresh.indexed,
            dataset_version=fresh.dataset,
            words=_words(search),
            corrections=understood.corrections,
            ranked=0 if search.question.order else min(seen, execute.CANDIDATES),
            complete=matches.complete,
            detail=" ".join(_details(search, matches, total, asked, seen)),
            seconds=round(time.monotonic() - began, 4),
        ),
    )


async def _match(db: Connection, search: Search, asked: Asked) -> tuple[Understood, Matches]:
    index, question = search.index, search.question
    families = await expand.select_families(db, index, asked)
    understood = _understood(search, asked, families)
    after = _after(understood.search)
    matches = await execute.select(db, understood.search, after)
    if question.typos and matches.complete and matches.total < FEW and asked.clauses:
        wider, corrections = await spelling.correct(db, index, asked, families)
        if corrections:
            understood = _understood(search, asked, wider)._replace(corrections=corrections)
            matches = await execute.select(db, understood.search, after)
    return understood, matches


def _understood(search: Search, asked: Asked, families: Families) -> Understood:
    question = search.question
    anything = not question.words and not question.q.strip()
    if not anything:
        meant = expand.mean(asked, families, search.index, question.fields)
        return Understood(msgspec.structs.replace(search, meaning=meant), [], families)
    if not question.order:
        question = msgspec.structs.replace(question, order=ordering.read(search.dataset, ""))
    return Understood(msgspec.structs.replace(search, question=question), [], families)


def _total(understood: Understood, matches: Matches, fresh: Fresh) -> Total:
    if not matches.capped:
        return Total(matches.total, "eq")
    if (documents := _counted(understood)) is not None and fresh.counted >= fresh.indexed:
        return Total(documents, "eq")
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


def _nothing(question: Question, seconds: float) -> Found:
    """Of a dataset that was declared a moment ago."""
    meta = Meta(
        version=0,
        dataset_version=0,
        words=[],
        corrections=[],
        ranked=0,
        complete=True,
        seconds=round(seconds, 4),
    )
    return Found([], Total(0, "eq"), facets.read(question.facets, None, approximate=False), None, meta)


def _hit(search: Search, row: Any) -> Hit:
    shown = {name: row[name] for name in columns(search.dataset)}
    if search.meaning is None:
        return Hit(shown, 0.0)
    marked, prefixes = frozenset(search.meaning.words), search.meaning.prefixes
    return Hit(
        shown,
        row["_score"],
        {name: highlight.fragments(row[name], marked, prefixes) for name in search.question.highlight},
    )


def _after(search: Search) -> list[Any]:
    question = search.question
    if question.cursor is None:
        return []
    known = columns(search.dataset)
    keys = [known[name] for name in search.dataset.key]
    fields: Sequence[Field] = [known[term.field] for term in question.order] if question.order else [SCORE, *keys]
    return cursors.read(question.cursor, _place(search), fields)


def _next(search: Search, matches: Matches) -> str | None:
    question = search.question
    if len(matches.rows) <= question.limit:
        return None
    last = matches.rows[question.limit - 1]
    if question.order:
        return cursors.write(_place(search), [last[f"_last{number}"] for number in range(len(question.order))])
    return cursors.write(_place(search), [last["_score"], *(last[name] for name in search.dataset.key)])


def _details(search: Search, matches: Matches, total: Total, asked: Asked, seen: int) -> Iterator[str]:
    made, declared = search.index.search, search.dataset.search
    if not matches.complete:
        yield TIME
    if asked.cut:
        yield CUT
    if _ends(search, matches, total, seen):
        yield END.format(seen)
    if declared and not made.has_same_documents(declared):
        yield OLD.format(", ".join(made.fields), made.language)


def _ends(search: Search, matches: Matches, total: Total, seen: int) -> bool:
    """Whether this is the last page of the best, though there are more hits."""
    last = len(matches.rows) <= search.question.limit and matches.complete
    more = total.relation == "gte" or total.value > seen
    return last and more and not search.question.order


def _place(search: Search) -> Any:
    return search.dataset.name, search.question.place
