"""GET /v1/datasets/{dataset}/words and …/dictionary: the most frequent words, and what they mean."""

import datetime as dt
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from services.gateway.catalog import Catalog
from services.gateway.http import etags
from services.gateway.http.problems import Problem, responses
from services.gateway.http.responses import Answer
from services.gateway.search import definitions
from services.gateway.search.definitions import UNDECLARED, Defined, Definition, State
from shared.bus import outbox
from shared.bus.relay import Relay
from shared.catalog.dataset import Dataset, Search
from shared.catalog.dictionary import Dictionary
from shared.db import Pool, transaction
from shared.search import stopwords, vocabulary, word_definitions
from shared.search.index import select_freshness
from shared.search.vocabulary import FrequentWord

USUAL = 10
KEPT = {304: ResponseSpec(data_container=None, description="As you know it", generate_examples=False)}
StopWords = Annotated[
    Literal["keep", "drop"], Parameter(description="Those of the dataset's language, as Postgres lists them")
]
Known = Annotated[str | None, Parameter(header=etags.HEADER, description="The `ETag` of an answer")]
_asked: dict[str, UUID] = {}
"""By dataset, what this process has asked of the indexer last: the same is not asked again."""


class Words(msgspec.Struct, frozen=True):
    """The most frequent first. `total` counts the different words.

    `version` is that of the dataset up to which words are counted, `dataset_version` that of its rows.
    """

    data: list[FrequentWord]
    total: int
    version: int
    dataset_version: int


class Entry(msgspec.Struct, frozen=True):
    """A word, how often it occurs, and what the dictionary says: null where it has said nothing.

    `fetched_at` tells when it said so, `stale` that it is older than a day because it could not be asked again.
    """

    word: str
    documents: int
    occurrences: int
    phonetic: str | None
    definitions: list[Definition] | None
    definitions_state: State | None
    fetched_at: dt.datetime | None
    stale: bool


Much = Literal["complete", "partial", "unavailable", "not_declared"]


class Entries(msgspec.Struct, frozen=True):
    """The most frequent first, and how much of their definitions there is; versions as with the words."""

    data: list[Entry]
    definitions: Much
    version: int
    dataset_version: int


@get(
    "/v1/datasets/{dataset:str}/words",
    tags=["search"],
    summary="The most frequent words of a dataset",
    description="Words of the searched fields as they stand, in lower case.",
    opt={"scope": "read"},
    responses={**responses(404, 422), 200: ResponseSpec(data_container=Words, description="Words"), **KEPT},
)
async def list_words(
    pool: Pool,
    catalog: Catalog,
    dataset: str,
    limit: Annotated[int, Parameter(ge=1, le=1000)] = USUAL,
    stop_words: StopWords = "keep",
    if_none_match: Known = None,
) -> Answer[Any]:
    """Words that occur equally often stand in the order of their letters."""
    declared = await catalog.dataset(pool, dataset)
    without = _without(_searched(declared), stop_words)
    async with pool.acquire() as db, db.transaction(isolation="repeatable_read", readonly=True):
        fresh = await select_freshness(db, dataset)
        found = Words(
            data=await vocabulary.select_frequent(db, dataset, limit=limit, stop_dictionary=without),
            total=await vocabulary.count_words(db, dataset),
            version=fresh.counted,
            dataset_version=fresh.dataset,
        )
    return etags.respond(found, if_none_match)


@get(
    "/v1/datasets/{dataset:str}/dictionary",
    tags=["search"],
    summary="The most frequent words of a dataset, with their meanings",
    description="As the dataset's `dictionary` tells them: fetched in the background and kept for a day. `pending` will"
    " come, `unknown` is not in the dictionary, `unavailable` could not be had. The words come in any case.",
    opt={"scope": "read"},
    responses={**responses(404, 422), 200: ResponseSpec(data_container=Entries, description="Entries"), **KEPT},
)
async def read_dictionary(
    pool: Pool,
    relay: Relay,
    catalog: Catalog,
    dataset: str,
    limit: Annotated[int | None, Parameter(ge=1, le=100, description="10, if so many words are looked up")] = None,
    stop_words: StopWords = "keep",
    if_none_match: Known = None,
) -> Answer[Any]:
    """Nobody outside is asked for it now. What is missing or old is asked for, and is there another time."""
    declared = await catalog.dataset(pool, dataset)
    without = _without(_searched(declared), stop_words)
    limit = _limit(declared.dictionary, limit)
    async with pool.acquire() as db, db.transaction(isolation="repeatable_read", readonly=True):
        words = await vocabulary.select_frequent(db, dataset, limit=limit, stop_dictionary=without)
        fresh = await select_freshness(db, dataset)
        defined = [UNDECLARED] * len(words)
        if declared.dictionary is not None:
            names = [frequent.word for frequent in words]
            defined = await definitions.select_defined(db, declared.dictionary.url, names)
    if any(one.due for one in defined):
        await _ask(pool, relay, dataset, fresh.counted)
    data = [_entry(*pair) for pair in zip(words, defined, strict=True)]
    much = _how_much(defined) if declared.dictionary else "not_declared"
    return etags.respond(Entries(data, much, fresh.counted, fresh.dataset), if_none_match)


async def _ask(pool: Pool, relay: Relay, dataset: str, version: int) -> None:
    command = word_definitions.define_words(dataset, version)
    if _asked.get(dataset) == command.id:
        return
    async with transaction(pool) as db:
        await outbox.insert_messages(db, [command])
    _asked[dataset] = command.id
    relay.wake()


def _entry(word: FrequentWord, defined: Defined) -> Entry:
    return Entry(
        word=word.word,
        documents=word.documents,
        occurrences=word.occurrences,
        phonetic=defined.phonetic,
        definitions=defined.definitions,
        definitions_state=defined.state,
        fetched_at=defined.fetched_at,
        stale=defined.stale,
    )


def _how_much(defined: list[Defined]) -> Much:
    states = {one.state for one in defined}
    if states <= {"found", "unknown"}:
        return "complete"
    return "unavailable" if states == {"unavailable"} else "partial"


def _limit(dictionary: Dictionary | None, wanted: int | None) -> int:
    """Raises Problem 422 for more words than are looked up."""
    if dictionary is None:
        return wanted or USUAL
    if wanted is not None and wanted > dictionary.words:
        detail = f"limit={wanted} is too much: only the {dictionary.words} most frequent words are looked up."
        raise Problem(422, "limit_too_large", detail, hint="Raise `words` of the dictionary in the declaration.")
    return wanted or min(USUAL, dictionary.words)


def _searched(dataset: Dataset) -> Search:
    """Raises Problem 422."""
    if dataset.search is None:
        hint = "Add `search = { fields = [...] }`."
        raise Problem(
            422, "not_searchable", f"{dataset.name} declares no search, so its words are not counted.", hint=hint
        )
    return dataset.search


def _without(search: Search, stop_words: str) -> str | None:
    """Raises Problem 422 for a language that has no stop words."""
    if stop_words == "keep":
        return None
    stemmer = stopwords.stemmer(search)
    if stemmer is None:
        detail = f"There is no list of stop words for the language {search.language}."
        raise Problem(422, "no_stop_words", detail, hint=f"There are lists for {', '.join(stopwords.LISTED)}.")
    return stemmer
