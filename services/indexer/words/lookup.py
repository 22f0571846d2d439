"""Looks up the most frequent words of datasets in their dictionaries, with rate limit and back-off."""

import asyncio
import time
from collections.abc import Iterator

import httpx2
import msgspec
import structlog

from services.indexer.words import dictionary_api, queries
from services.indexer.words.dictionary_api import Entry
from shared.bus import outbox
from shared.bus.failures import PermanentFailure, TransientFailure
from shared.catalog.dataset import Dataset, Dictionary
from shared.contracts.commands import DefineWords
from shared.contracts.parts import Problem
from shared.db import Connection, Pool, transaction
from shared.outgoing.http_client import NotFound, OutboundClient, OutboundSession
from shared.reads.ingestor.datasets import select_dataset, select_with_dictionary
from shared.search import stopwords, vocabulary, word_definitions
from shared.telemetry import metrics

CONCURRENT_REQUESTS = 4
BATCH_SECONDS = 5.0
REQUEST_SECONDS = 5.0
MAX_RESPONSE_BYTES = 1 << 20
EVERY_SECONDS = 10.0
log = structlog.get_logger()


async def run(pool: Pool) -> int:
    """Sends DefineWords for every dataset that lacks definitions; returns how many."""
    async with pool.acquire() as db:
        datasets = await select_with_dictionary(db)
    sent = 0
    for dataset, version in datasets:
        try:
            async with transaction(pool) as db:
                commands = await _define_missing(db, dataset, version)
                await outbox.insert_messages(db, commands)
        except Exception as error:  # a failing dataset must not block the others
            log.warning("definitions delayed", dataset=dataset.name, error=repr(error), exc_info=error)
        else:
            sent += len(commands)
    return sent


async def _define_missing(db: Connection, dataset: Dataset, version: int) -> list[DefineWords]:
    if dataset.dictionary is None or not await _select_due_words(db, dataset, dataset.dictionary):
        return []
    return [word_definitions.define_words(dataset.name, version)]


async def define_words(command: DefineWords, db: Connection, client: OutboundClient) -> DefineWords | None:
    """Looks up words for some seconds; returns the next command if some are left. Failed requests cause back-off."""
    dataset = await select_dataset(db, command.dataset)
    dictionary = dataset.dictionary
    if dictionary is None:
        return None
    failures = await queries.lock_dictionary(db, dictionary.url)
    due = await _select_due_words(db, dataset, dictionary)
    if not due:
        return None
    words = [word for word in due if dictionary_api.can_look_up(word)]
    await queries.upsert_entries(db, dictionary.url, dict.fromkeys(set(due).difference(words)))
    async with client.session() as session:
        batch = LookupBatch(session, dataset.name, dictionary, client)
        remaining = iter(words)
        await asyncio.gather(*(batch.look_up(remaining) for _ in range(CONCURRENT_REQUESTS)))
    await queries.upsert_entries(db, dictionary.url, batch.entries)
    if batch.is_unavailable:
        failures = 1 if batch.entries else failures + 1
        problem = batch.problem or Problem(code="source_unavailable", detail="")
        await queries.upsert_backoff(
            db, dictionary.url, failures=failures, retry_after=batch.retry_after, problem=problem
        )
        log.warning("dictionary unavailable", failures=failures, error=problem.detail)
        return None
    if batch.entries:
        await queries.delete_backoff(db, dictionary.url)
    await queries.upsert_failures(db, dictionary.url, list(batch.failed))
    if len(batch.entries) + len(batch.failed) < len(words):
        return msgspec.structs.replace(command, moment=command.moment + 1)
    return None


class LookupBatch:
    """Concurrent lookups in one dictionary, until the time is up or the dictionary is unavailable."""

    def __init__(self, session: OutboundSession, dataset: str, dictionary: Dictionary, client: OutboundClient) -> None:
        self.entries: dict[str, Entry | None] = {}
        self.failed: set[str] = set()
        self.problem: Problem | None = None
        """The last failure."""
        self.retry_after: float | None = None
        """Seconds of the dictionary's `Retry-After`."""
        self._consecutive_failures = 0
        self._session = session
        self._dataset = dataset
        self._dictionary = dictionary
        self._environment = client.environment
        self._deadline = time.monotonic() + BATCH_SECONDS

    @property
    def is_unavailable(self) -> bool:
        """Whether the dictionary failed rather than single words: all lookups failed, or all of the last ones."""
        all_failed = bool(self.failed) and not self.entries
        return all_failed or self._consecutive_failures == CONCURRENT_REQUESTS or self.retry_after is not None

    async def look_up(self, words: Iterator[str]) -> None:
        """Looks up words until one fails. Concurrent calls share the iterator."""
        for word in words:
            try:
                self.entries[word] = await self._fetch_entry(word)
            except (TransientFailure, PermanentFailure) as error:
                self._add_failure(word, error)
                return
            self._consecutive_failures = 0
            metrics.DEFINITIONS.labels("unknown" if self.entries[word] is None else "found").inc()
            if self.retry_after is not None or time.monotonic() > self._deadline:
                return

    async def _fetch_entry(self, word: str) -> Entry | None:
        request, secrets = dictionary_api.build_request(self._dataset, self._dictionary, word, self._environment)
        await self._session.wait_for_turn(request.url.host, self._dictionary.requests_per_second)
        try:
            response = await self._session.send(
                request, seconds=REQUEST_SECONDS, limit=MAX_RESPONSE_BYTES, secrets=secrets
            )
            return dictionary_api.parse(response.body)
        except NotFound:
            return None
        except dictionary_api.Unreadable as error:
            detail = f"The response of {httpx2.URL(request.url).host} for {word!r} can't be parsed: {error}."
            raise TransientFailure(None, Problem(code="source_unreadable", detail=detail)) from None

    def _add_failure(self, word: str, error: TransientFailure | PermanentFailure) -> None:
        self.failed.add(word)
        self.problem = error.problem
        self._consecutive_failures += 1
        metrics.DEFINITIONS.labels("failed").inc()
        if isinstance(error, TransientFailure) and error.seconds is not None:
            self.retry_after = max(self.retry_after or 0.0, error.seconds)


async def _select_due_words(db: Connection, dataset: Dataset, dictionary: Dictionary) -> list[str]:
    """Returns the most frequent words, and the most frequent without stop words, as far as a lookup is due."""
    stemmer = stopwords.stemmer(dataset.search) if dataset.search else None
    words: dict[str, None] = {}
    for without in dict.fromkeys((None, stemmer)):
        frequent = await vocabulary.select_frequent(db, dataset.name, limit=dictionary.words, stop_dictionary=without)
        words |= dict.fromkeys(row.word for row in frequent)
    return await queries.select_due_words(db, dictionary.url, list(words))
