"""GET /v1/datasets/{dataset}/words and …/dictionary: the most frequent words, and their definitions."""

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
from shared.bus import outbox
from shared.bus.relay import Relay
from shared.catalog.dataset import Dataset, Dictionary, Search
from shared.db import Pool, transaction
from shared.reads.indexer import definitions
from shared.reads.indexer.definitions import NO_DICTIONARY, Definition, DefinitionState, WordDefinition
from shared.reads.indexer.index import count_words, select_freshness
from shared.search import stopwords, vocabulary, word_definitions
from shared.search.vocabulary import FrequentWord

DEFAULT_LIMIT = 10
NOT_MODIFIED = {304: ResponseSpec(data_container=None, description="Not modified", generate_examples=False)}
StopWords = Annotated[
    Literal["keep", "drop"], Parameter(description="Stop words of the dataset's language, as listed by Postgres")
]
IfNoneMatch = Annotated[str | None, Parameter(header=etags.HEADER, description="The `ETag` of an earlier response")]
_last_commands: dict[str, UUID] = {}
"""The last command that this process sent to the indexer, by dataset, so that it sends each only once."""


class Words(msgspec.Struct, frozen=True):
    """The most frequent words, most frequent first; `total` is the number of different words.

    Words are counted up to `version` of the dataset; its rows are at `dataset_version`.
    """

    data: list[FrequentWord]
    total: int
    version: int
    dataset_version: int


class Entry(msgspec.Struct, frozen=True):
    """A word with its frequency and its definitions, null if there are none.

    `stale` if the definitions are older than a day because the dictionary could not be reached since.
    """

    word: str
    documents: int
    occurrences: int
    phonetic: str | None
    definitions: list[Definition] | None
    definitions_state: DefinitionState | None
    fetched_at: dt.datetime | None
    stale: bool


Completeness = Literal["complete", "partial", "unavailable", "not_declared"]


class Entries(msgspec.Struct, frozen=True):
    """The most frequent words with definitions, and how complete these are. Versions as in `Words`."""

    data: list[Entry]
    definitions: Completeness
    version: int
    dataset_version: int


@get(
    "/v1/datasets/{dataset:str}/words",
    tags=["search"],
    summary="List the most frequent words of a dataset",
    description="The words of the searched fields as written, in lower case.",
    opt={"scope": "read"},
    responses={**responses(404, 422), 200: ResponseSpec(data_container=Words, description="Words"), **NOT_MODIFIED},
)
async def list_words(
    pool: Pool,
    catalog: Catalog,
    dataset: str,
    limit: Annotated[int, Parameter(ge=1, le=1000)] = DEFAULT_LIMIT,
    stop_words: StopWords = "keep",
    if_none_match: IfNoneMatch = None,
) -> Answer[Any]:
    """Sorts equally frequent words alphabetically."""
    declaration = await catalog.dataset(pool, dataset)
    stemmer = _stemmer(_searched(declaration), stop_words)
    async with pool.acquire() as db, db.transaction(isolation="repeatable_read", readonly=True):
        freshness = await select_freshness(db, dataset)
        words = Words(
            data=await vocabulary.select_frequent(db, dataset, limit=limit, stop_dictionary=stemmer),
            total=await count_words(db, dataset),
            version=freshness.counted,
            dataset_version=freshness.dataset,
        )
    return etags.respond(words, if_none_match)


@get(
    "/v1/datasets/{dataset:str}/dictionary",
    tags=["search"],
    summary="List the most frequent words of a dataset, with definitions",
    description="Definitions come from the dataset's `dictionary`. They are fetched in the background and cached for a"
    " day. `pending` is not fetched yet, `unknown` is not in the dictionary, `unavailable` could not be fetched. The"
    " response has the words in any case.",
    opt={"scope": "read"},
    responses={**responses(404, 422), 200: ResponseSpec(data_container=Entries, description="Entries"), **NOT_MODIFIED},
)
async def read_dictionary(
    pool: Pool,
    relay: Relay,
    catalog: Catalog,
    dataset: str,
    limit: Annotated[
        int | None, Parameter(ge=1, le=100, description="10 by default, or fewer if fewer words are looked up")
    ] = None,
    stop_words: StopWords = "keep",
    if_none_match: IfNoneMatch = None,
) -> Answer[Any]:
    """Responds from the cache. Missing and expired definitions are fetched in the background for later requests."""
    declaration = await catalog.dataset(pool, dataset)
    stemmer = _stemmer(_searched(declaration), stop_words)
    limit = _limit(declaration.dictionary, limit)
    async with pool.acquire() as db, db.transaction(isolation="repeatable_read", readonly=True):
        words = await vocabulary.select_frequent(db, dataset, limit=limit, stop_dictionary=stemmer)
        freshness = await select_freshness(db, dataset)
        found = [NO_DICTIONARY] * len(words)
        if declaration.dictionary is not None:
            names = [frequent.word for frequent in words]
            found = await definitions.select_definitions(db, declaration.dictionary.url, names)
    if any(definition.due for definition in found):
        await _request_definitions(pool, relay, dataset, freshness.counted)
    data = [_entry(*pair) for pair in zip(words, found, strict=True)]
    completeness = _completeness(found) if declaration.dictionary else "not_declared"
    return etags.respond(Entries(data, completeness, freshness.counted, freshness.dataset), if_none_match)


async def _request_definitions(pool: Pool, relay: Relay, dataset: str, version: int) -> None:
    command = word_definitions.define_words(dataset, version)
    if _last_commands.get(dataset) == command.id:
        return
    async with transaction(pool) as db:
        await outbox.insert_messages(db, [command])
    _last_commands[dataset] = command.id
    relay.wake()


def _entry(word: FrequentWord, definition: WordDefinition) -> Entry:
    return Entry(
        word=word.word,
        documents=word.documents,
        occurrences=word.occurrences,
        phonetic=definition.phonetic,
        definitions=definition.definitions,
        definitions_state=definition.state,
        fetched_at=definition.fetched_at,
        stale=definition.stale,
    )


def _completeness(found: list[WordDefinition]) -> Completeness:
    states = {definition.state for definition in found}
    if states <= {"found", "unknown"}:
        return "complete"
    return "unavailable" if states == {"unavailable"} else "partial"


def _limit(dictionary: Dictionary | None, limit: int | None) -> int:
    """Returns the number of words to list. Raises Problem 422 for more words than are looked up."""
    if dictionary is None:
        return limit or DEFAULT_LIMIT
    if limit is not None and limit > dictionary.words:
        detail = f"limit={limit} is too much: only the {dictionary.words} most frequent words are looked up."
        raise Problem(422, "limit_too_large", detail, hint="Raise `words` of the dictionary in the declaration.")
    return limit or min(DEFAULT_LIMIT, dictionary.words)


def _searched(dataset: Dataset) -> Search:
    """Returns the search declaration. Raises Problem 422 if there is none."""
    if dataset.search is None:
        hint = "Add `search = { fields = [...] }`."
        raise Problem(
            422, "not_searchable", f"{dataset.name} declares no search, so its words are not counted.", hint=hint
        )
    return dataset.search


def _stemmer(search: Search, stop_words: str) -> str | None:
    """Returns the stemmer whose stop words to drop, None to keep all. Raises Problem 422 if the language has none."""
    if stop_words == "keep":
        return None
    stemmer = stopwords.stemmer(search)
    if stemmer is None:
        detail = f"There is no list of stop words for the language {search.language}."
        raise Problem(422, "no_stop_words", detail, hint=f"Lists exist for {', '.join(stopwords.LISTED)}.")
    return stemmer
