"""PullPage: loads some pages of a source as a chunk, and sends another PullPage until the last page."""

import time
from typing import NamedTuple

import msgspec

from services.ingestor import chunk_ledger, new_chunks
from services.ingestor.chunk_ledger import Chunk
from services.ingestor.imports import load
from services.ingestor.imports.chunk_rows import ChunkInput
from services.ingestor.new_chunks import NewChunk
from services.ingestor.settings import IngestorSettings
from services.ingestor.sources import fetch, mapping, sync_progress
from services.ingestor.sources import queries as sync_queries
from services.ingestor.sources.sync_progress import Progress, Step
from services.ingestor.sources.turns import HostTurns
from services.ingestor.write import partitions, queries
from shared.bus.failures import PermanentFailure, TransientFailure
from shared.catalog.dataset import Dataset
from shared.catalog.paginators import BadPage, Page
from shared.catalog.source import Source
from shared.contracts.commands import PullPage
from shared.contracts.events import ChunkLoaded, ImportStopped, SourcePulled
from shared.contracts.parts import Dialect, LoadOptions, Outcome, Problem
from shared.db import Connection
from shared.outgoing.http_client import OutboundClient
from shared.telemetry import metrics

ENOUGH_ROWS = 1000
ENOUGH_SECONDS = 5.0
PullResult = list[PullPage | ChunkLoaded | SourcePulled | ImportStopped]


class Pages(NamedTuple):
    """Some pages of a source: a line for each row, and the ids in them."""

    lines: list[bytes]
    ids: set[str]
    after: Progress
    ended: bool
    warning: Problem | None = None


async def pull_page(
    command: PullPage, db: Connection, outgoing: OutboundClient, turns: HostTurns, settings: IngestorSettings
) -> PullResult:
    """Loads pages and stores the progress of the sync, both in one transaction.

    Raises NotReady while another job requests pages of the same host, and PermanentFailure for a page that was given up
    and is redriven after a newer sync of the source has begun.
    """
    dataset, source = await _select_source(db, command)
    if command.at and not await sync_queries.is_next_pull(db, command):
        detail = f"A newer sync of the source {command.source} has begun, so this one can't go on."
        raise PermanentFailure(Problem(code="superseded", detail=detail, hint="Start a new sync."))
    before = msgspec.convert(command.at, Progress) if command.at else await _begin(db, dataset, source)
    seconds = await sync_queries.select_duration(db, command.job_id)
    with turns.take(fetch.host(source, outgoing.environment), command.job_id):
        pages = await _fetch_pages(outgoing, source, dataset, before, seconds=seconds, enough=settings.chunk_bytes)
    data = b"\n".join(pages.lines)
    chunk = await _insert_chunk(
        db,
        command,
        chunk=command.chunk,
        size=len(data),
        columns=mapping.columns(source, dataset),
        load_options=LoadOptions(max_errors=source.max_errors, max_error_rate=source.max_error_rate),
    )
    loaded = await load.load(db, ChunkInput(chunk, data, len(data), before.rows + 1))
    messages: PullResult = [event for event in loaded if isinstance(event, ChunkLoaded | ImportStopped)]
    if not messages or any(isinstance(event, ImportStopped) for event in messages):
        await sync_queries.delete_sync_state(db, command.job_id)
        return messages
    await sync_queries.insert_seen(db, command.job_id, pages.ids)
    after = msgspec.structs.replace(pages.after, bytes=pages.after.bytes + len(data))
    if pages.ended:
        return [*messages, *await _end(db, command, dataset, source, pages._replace(after=after))]
    if source.incremental and source.incremental.row_order == "asc":
        await _keep_cursor(db, dataset, source, after)
    following = PullPage(
        dataset=command.dataset,
        job_id=command.job_id,
        source=source.name,
        chunk=command.chunk + 1,
        at=msgspec.to_builtins(after),
    )
    await sync_queries.upsert_pull(db, following)
    return [*messages, following]


async def _insert_chunk(
    db: Connection, command: PullPage, *, chunk: int, size: int, columns: tuple[str, ...], load_options: LoadOptions
) -> Chunk:
    new = NewChunk(
        command=command,
        job_id=command.job_id,
        chunk=chunk,
        size=size,
        dialect=Dialect(columns=columns, header=False, format="ndjson"),
        load_options=load_options,
        source=command.source,
    )
    (inserted,) = await new_chunks.insert_chunks(db, [new])
    return inserted


async def _select_source(db: Connection, command: PullPage) -> tuple[Dataset, Source]:
    found = await queries.select_dataset(db, command.dataset)
    try:
        if found is not None:
            return found[0], found[0].source(command.source)
    except KeyError:
        pass
    detail = f"The dataset {command.dataset} has no source {command.source}."
    raise PermanentFailure(Problem(code="unknown_source", detail=detail))


async def _begin(db: Connection, dataset: Dataset, source: Source) -> Progress:
    await sync_queries.delete_abandoned_syncs(db, dataset.name, source.name)
    return sync_progress.begin(source, await sync_queries.select_cursor(db, dataset.name, source.name))


async def _fetch_pages(
    outgoing: OutboundClient, source: Source, dataset: Dataset, before: Progress, *, seconds: float, enough: int
) -> Pages:
    """Fetches pages until there are enough rows, bytes or seconds. Raises TransientFailure if the first page fails."""
    began = time.monotonic()
    names = mapping.columns(source, dataset)
    pages = Pages([], set(), before, ended=False)
    size = 0
    async with outgoing.session() as session:
        while not pages.ended and len(pages.lines) < ENOUGH_ROWS and size < enough:
            spent = time.monotonic() - began
            if spent > ENOUGH_SECONDS:
                break
            at = pages.after
            try:
                page = await fetch.fetch_page(session, source, at.place, at.since, outgoing.environment)
            except TransientFailure:
                if at == before:
                    raise
                break  # load the pages so far; the next message requests this page again
            step = _advance(source, at, page, seconds=seconds + spent)
            lines = mapping.to_lines(step.rows, source, names)
            size += sum(map(len, lines))
            pages = Pages(
                pages.lines + lines,
                pages.ids | mapping.ids(step.rows, source, dataset),
                step.progress,
                step.ended,
                step.warning,
            )
    return pages


def _advance(source: Source, at: Progress, page: Page, *, seconds: float) -> Step:
    try:
        return sync_progress.advance(source, at, page, seconds=seconds)
    except BadPage as error:
        detail = f"The paginator of the source {source.name} can't read its response: {error}."
        raise PermanentFailure(Problem(code="source_unreadable", detail=detail)) from None


async def _end(db: Connection, command: PullPage, dataset: Dataset, source: Source, pages: Pages) -> PullResult:
    """Ends the sync. One that has not seen all pages deletes nothing."""
    messages: PullResult = []
    warning = pages.warning
    if source.delete_missing and warning is None:
        deleted, warning = await _delete_missing(db, command, dataset, source)
        messages += deleted
    if pages.warning is None or (source.incremental and source.incremental.row_order == "asc"):
        await _keep_cursor(db, dataset, source, pages.after)
    count = command.chunk + len(messages)
    await sync_queries.update_ended(db, command.job_id, count, warning)
    await sync_queries.delete_sync_state(db, command.job_id)
    return [
        *messages,
        SourcePulled(
            dataset=dataset.name, job_id=command.job_id, chunks=count, bytes=pages.after.bytes, warning=warning
        ),
    ]


async def _keep_cursor(db: Connection, dataset: Dataset, source: Source, after: Progress) -> None:
    if source.incremental and after.highest is not None:
        await sync_queries.upsert_cursor(db, dataset.name, source.name, after.highest)


async def _delete_missing(
    db: Connection, command: PullPage, dataset: Dataset, source: Source
) -> tuple[list[ChunkLoaded], Problem | None]:
    """Deletes the rows that the source no longer has, as one chunk, unless they exceed `max_shrink`."""
    if source.delete_missing is None:
        return [], None
    await partitions.share_all_years(db, dataset)
    field, share = source.delete_missing.id_field, source.delete_missing.max_shrink
    existing, missing = await sync_queries.count_missing(db, dataset, field, command.job_id)
    if not missing:
        return [], None
    if missing > share * existing:
        detail = f"The source {source.name} lacks {missing} of its {existing} rows; none was deleted."
        hint = f"The limit is {share:.0%}. If this is intended, raise delete_missing.max_shrink for one sync."
        return [], Problem(code="shrink_guard", detail=detail, hint=hint)
    chunk = await _insert_chunk(db, command, chunk=command.chunk + 1, size=0, columns=(), load_options=LoadOptions())
    outcome = Outcome(deleted=await sync_queries.delete_missing(db, dataset, field, command.job_id, chunk.ledger))
    event = await chunk_ledger.close_chunk(db, chunk, outcome)
    metrics.ROWS.labels(dataset.name, "deleted").inc(outcome.deleted)
    return [event], None
