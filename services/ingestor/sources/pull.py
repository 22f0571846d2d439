"""PullPage: some pages of a source become a chunk, and another PullPage follows until there are no more."""

import time
from typing import NamedTuple

import msgspec

from services.ingestor import chunk_ledger
from services.ingestor.imports import load
from services.ingestor.settings import IngestorSettings
from services.ingestor.sources import cursors, fetch, mapping, sync_progress
from services.ingestor.sources.paginators import BadPage, Page
from services.ingestor.sources.sync_progress import Progress, Step
from services.ingestor.write import partitions, queries
from shared.bus.failures import PermanentFailure, TransientFailure
from shared.catalog.dataset import Dataset
from shared.catalog.source import Source
from shared.contracts.commands import PullPage
from shared.contracts.events import ChunkLoaded, ImportStopped, SourcePulled
from shared.contracts.parts import Dialect, LoadOptions, Outcome, Problem
from shared.db import Connection
from shared.outgoing.http_client import OutboundClient
from shared.telemetry import metrics

ENOUGH_ROWS = 1000
ENOUGH_SECONDS = 5.0
Said = list[PullPage | ChunkLoaded | SourcePulled | ImportStopped]


class Pulled(NamedTuple):
    """What some pages brought: a line for each row, and the ids that the source still has."""

    lines: list[bytes]
    ids: set[str]
    after: Progress
    ended: bool
    warning: Problem | None = None


async def pull_page(command: PullPage, db: Connection, outgoing: OutboundClient, settings: IngestorSettings) -> Said:
    """Rows, their verdicts, how far the source was read and what is to be pulled next, all in one transaction."""
    dataset, source = await _declared(db, command)
    before = msgspec.convert(command.at, Progress) if command.at else await _begin(db, dataset, source)
    seconds = await cursors.select_seconds(db, command.job_id)
    pulled = await _pull(outgoing, source, dataset, before, seconds=seconds, enough=settings.chunk_bytes)
    data = b"\n".join(pulled.lines)
    chunk = await chunk_ledger.insert_chunk(
        db,
        command,
        job_id=command.job_id,
        chunk=command.chunk,
        size=len(data),
        dialect=Dialect(columns=mapping.columns(source, dataset), header=False, format="ndjson"),
        load_options=LoadOptions(max_errors=source.max_errors, max_error_rate=source.max_error_rate),
        source=source.name,
    )
    loaded = await load.load(db, chunk, data, line=before.rows + 1, size=len(data))
    said: Said = [one for one in loaded if isinstance(one, ChunkLoaded | ImportStopped)]
    if not said or any(isinstance(one, ImportStopped) for one in said):
        await cursors.forget(db, command.job_id)
        return said
    await cursors.insert_seen(db, command.job_id, pulled.ids)
    after = msgspec.structs.replace(pulled.after, bytes=pulled.after.bytes + len(data))
    if pulled.ended:
        return [*said, *await _end(db, command, dataset, source, pulled._replace(after=after))]
    if source.incremental and source.incremental.row_order == "asc":
        await _keep_cursor(db, dataset, source, after)
    following = PullPage(
        dataset=command.dataset,
        job_id=command.job_id,
        source=source.name,
        chunk=command.chunk + 1,
        at=msgspec.to_builtins(after),
    )
    await cursors.upsert_pull(db, following)
    return [*said, following]


async def _declared(db: Connection, command: PullPage) -> tuple[Dataset, Source]:
    found = await queries.select_dataset(db, command.dataset)
    try:
        if found is not None:
            return found[0], found[0].source(command.source)
    except KeyError:
        pass
    detail = f"The dataset {command.dataset} has no source {command.source}."
    raise PermanentFailure(Problem(code="unknown_source", detail=detail))


async def _begin(db: Connection, dataset: Dataset, source: Source) -> Progress:
    await cursors.forget_given_up(db, dataset.name, source.name)
    return sync_progress.begin(source, await cursors.select_cursor(db, dataset.name, source.name))


async def _pull(
    outgoing: OutboundClient, source: Source, dataset: Dataset, before: Progress, *, seconds: float, enough: int
) -> Pulled:
    """Pulls pages until it has enough rows, bytes or seconds. Raises TransientFailure if the first page fails."""
    began = time.monotonic()
    names = mapping.columns(source, dataset)
    pulled = Pulled([], set(), before, ended=False)
    size = 0
    async with outgoing.session() as session:
        while not pulled.ended and len(pulled.lines) < ENOUGH_ROWS and size < enough:
            spent = time.monotonic() - began
            if spent > ENOUGH_SECONDS:
                break
            at = pulled.after
            try:
                page = await fetch.fetch(session, source, at.place, at.since, outgoing.environment)
            except TransientFailure:
                if at == before:
                    raise
                break  # what has come is loaded; the next message asks for this page again
            step = _advance(source, at, page, seconds=seconds + spent)
            lines = mapping.to_lines(step.rows, source, names)
            size += sum(map(len, lines))
            pulled = Pulled(
                pulled.lines + lines,
                pulled.ids | mapping.ids(step.rows, source, dataset),
                step.progress,
                step.ended,
                step.warning,
            )
    return pulled


def _advance(source: Source, at: Progress, page: Page, *, seconds: float) -> Step:
    try:
        return sync_progress.advance(source, at, page, seconds=seconds)
    except BadPage as error:
        detail = f"The source {source.name} answered what its paginator can't follow: {error}."
        raise PermanentFailure(Problem(code="source_unreadable", detail=detail)) from None


async def _end(db: Connection, command: PullPage, dataset: Dataset, source: Source, pulled: Pulled) -> Said:
    """After the last page. A sync that did not see all of them deletes nothing, and is not known to be complete."""
    said: Said = []
    warning = pulled.warning
    if source.delete_missing and warning is None:
        deleted, warning = await _delete_missing(db, command, dataset, source)
        said += deleted
    if pulled.warning is None or (source.incremental and source.incremental.row_order == "asc"):
        await _keep_cursor(db, dataset, source, pulled.after)
    count = command.chunk + len(said)
    await cursors.update_ended(db, command.job_id, count, warning)
    await cursors.forget(db, command.job_id)
    return [
        *said,
        SourcePulled(
            dataset=dataset.name, job_id=command.job_id, chunks=count, bytes=pulled.after.bytes, warning=warning
        ),
    ]


async def _keep_cursor(db: Connection, dataset: Dataset, source: Source, after: Progress) -> None:
    if source.incremental and after.highest is not None:
        await cursors.upsert_cursor(db, dataset.name, source.name, after.highest)


async def _delete_missing(
    db: Connection, command: PullPage, dataset: Dataset, source: Source
) -> tuple[list[ChunkLoaded], Problem | None]:
    """Deletes the rows that the source has no longer, as a chunk of its own, unless they are suspiciously many."""
    if source.delete_missing is None:
        return [], None
    await partitions.keep_years(db, dataset)
    field, share = source.delete_missing.id_field, source.delete_missing.max_shrink
    standing, missing = await cursors.count_missing(db, dataset, field, command.job_id)
    if not missing:
        return [], None
    if missing > share * standing:
        detail = f"The source {source.name} lacks {missing} of the {standing} rows that came from it; none was deleted."
        hint = f"At most {share:.0%} may go. If this is meant, raise delete_missing.max_shrink for one sync."
        return [], Problem(code="shrink_guard", detail=detail, hint=hint)
    chunk = await chunk_ledger.insert_chunk(
        db,
        command,
        job_id=command.job_id,
        chunk=command.chunk + 1,
        size=0,
        dialect=Dialect(columns=(), header=False, format="ndjson"),
        load_options=LoadOptions(),
        source=source.name,
    )
    outcome = Outcome(deleted=await cursors.delete_missing(db, dataset, field, command.job_id, chunk.ledger))
    version = await chunk_ledger.update_loaded(db, chunk, outcome)
    metrics.ROWS.labels(dataset.name, "deleted").inc(outcome.deleted)
    loaded = ChunkLoaded(
        dataset=dataset.name,
        job_id=command.job_id,
        chunk=chunk.chunk,
        ledger=chunk.ledger,
        version=version,
        bytes=0,
        outcome=outcome,
    )
    return [loaded], None
