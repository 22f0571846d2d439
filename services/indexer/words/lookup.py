"""DefineWords: the most frequent words of a dataset are looked up in its dictionary, politely, and kept for a day."""

import asyncio
import time
from collections.abc import Iterator

import httpx2
import msgspec
import structlog

from services.indexer.words import dictionary_api, queries
from services.indexer.words.dictionary_api import Entry
from shared import ledger
from shared.bus import outbox
from shared.bus.failures import PermanentFailure, TransientFailure
from shared.catalog.dataset import Dataset, Dictionary
from shared.contracts.commands import DefineWords
from shared.contracts.parts import Problem
from shared.db import Connection, Pool, transaction
from shared.outgoing.http_client import NotFound, OutboundClient, OutboundSession
from shared.search import stopwords, vocabulary, word_definitions
from shared.telemetry import metrics

AT_ONCE = 4
ENOUGH_SECONDS = 5.0
ANSWER_SECONDS = 5.0
LARGEST_ANSWER = 1 << 20
EVERY_SECONDS = 10.0
log = structlog.get_logger()


async def run(pool: Pool) -> int:
    """Asks once for every dataset that lacks definitions; returns how many these are."""
    async with pool.acquire() as db:
        found = await queries.select_datasets(db)
    asked = 0
    for dataset, version in found:
        try:
            async with transaction(pool) as db:
                said = await missing(db, dataset, version)
                await outbox.insert_messages(db, said)
        except Exception as error:  # one dataset must not keep the others from being looked after
            log.warning("definitions wait", dataset=dataset.name, error=repr(error), exc_info=error)
        else:
            asked += len(said)
    return asked


async def missing(db: Connection, dataset: Dataset, version: int) -> list[DefineWords]:
    """What is to be said when words of the dataset, as it is now, lack a definition that could be had."""
    if dataset.dictionary is None or not await _lacking(db, dataset, dataset.dictionary):
        return []
    return [word_definitions.define_words(dataset.name, version)]


async def define_words(command: DefineWords, db: Connection, outgoing: OutboundClient) -> DefineWords | None:
    """Some seconds' worth of words; if that is not all, it is said again. Nothing that goes wrong outside fails it."""
    dataset = await ledger.select_dataset(db, command.dataset)
    dictionary = dataset.dictionary
    if dictionary is None:
        return None
    failures = await queries.lock_dictionary(db, dictionary.url)
    lacking = await _lacking(db, dataset, dictionary)
    if not lacking:
        return None
    words = [word for word in lacking if dictionary_api.is_askable(word)]
    await queries.upsert_answers(db, dictionary.url, dict.fromkeys(set(lacking).difference(words)))
    async with outgoing.session() as session:
        inquiry = Inquiry(session, dataset.name, dictionary, outgoing)
        following = iter(words)
        await asyncio.gather(*(inquiry.ask(following) for _ in range(AT_ONCE)))
    await queries.upsert_answers(db, dictionary.url, inquiry.answers)
    if inquiry.is_away:
        failures = 1 if inquiry.answers else failures + 1
        problem = inquiry.problem or Problem(code="source_unavailable", detail="")
        await queries.put_off(db, dictionary.url, failures=failures, asked=inquiry.asked, problem=problem)
        log.warning("dictionary away", failures=failures, error=problem.detail)
        return None
    if inquiry.answers:
        await queries.delete_pause(db, dictionary.url)
    await queries.upsert_failures(db, dictionary.url, list(inquiry.failed))
    if len(inquiry.answers) + len(inquiry.failed) < len(words):
        return msgspec.structs.replace(command, moment=command.moment + 1)
    return None


class Inquiry:
    """Words that are looked up in one session, several at once, until time or the dictionary's patience is up."""

    def __init__(
        self, session: OutboundSession, dataset: str, dictionary: Dictionary, outgoing: OutboundClient
    ) -> None:
        self.answers: dict[str, Entry | None] = {}
        self.failed: set[str] = set()
        self.problem: Problem | None = None
        """What went wrong last."""
        self.asked: float | None = None
        """Seconds for which the dictionary does not want to be asked."""
        self._in_a_row = 0
        self._session = session
        self._dataset = dataset
        self._dictionary = dictionary
        self._environment = outgoing.environment
        self._until = time.monotonic() + ENOUGH_SECONDS

    @property
    def is_away(self) -> bool:
        """Whether it is not the words that are at fault: nothing was answered, or none of the last ones."""
        silent = bool(self.failed) and not self.answers
        return silent or self._in_a_row == AT_ONCE or self.asked is not None

    async def ask(self, words: Iterator[str]) -> None:
        """One after the other, until one fails. The iterator is shared by as many as ask at once."""
        for word in words:
            try:
                self.answers[word] = await self._entry(word)
            except (TransientFailure, PermanentFailure) as error:
                self._fail(word, error)
                return
            self._in_a_row = 0
            metrics.DEFINITIONS.labels("unknown" if self.answers[word] is None else "found").inc()
            if self.asked is not None or time.monotonic() > self._until:
                return

    async def _entry(self, word: str) -> Entry | None:
        request, secrets = dictionary_api.question(self._dataset, self._dictionary, word, self._environment)
        await self._session.wait_for_turn(request.url.host, self._dictionary.requests_per_second)
        try:
            answer = await self._session.send(request, seconds=ANSWER_SECONDS, limit=LARGEST_ANSWER, secrets=secrets)
            return dictionary_api.read(answer.body)
        except NotFound:
            return None
        except dictionary_api.Unreadable as error:
            detail = f"What {httpx2.URL(request.url).host} says about {word!r} can't be read: {error}."
            raise TransientFailure(None, Problem(code="source_unreadable", detail=detail)) from None

    def _fail(self, word: str, error: TransientFailure | PermanentFailure) -> None:
        self.failed.add(word)
        self.problem = error.problem
        self._in_a_row += 1
        metrics.DEFINITIONS.labels("failed").inc()
        if isinstance(error, TransientFailure) and error.seconds is not None:
            self.asked = max(self.asked or 0.0, error.seconds)


async def _lacking(db: Connection, dataset: Dataset, dictionary: Dictionary) -> list[str]:
    """The most frequent words, and the most frequent that are no stop words, as far as they are to be asked for."""
    stemmer = stopwords.stemmer(dataset.search) if dataset.search else None
    words: dict[str, None] = {}
    for without in dict.fromkeys((None, stemmer)):
        found = await vocabulary.select_frequent(db, dataset.name, limit=dictionary.words, stop_dictionary=without)
        words |= dict.fromkeys(one.word for one in found)
    return await queries.select_lacking(db, dictionary.url, list(words))
