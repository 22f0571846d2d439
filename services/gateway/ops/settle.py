"""POST /v1/ops/dead-letters/redrive and …/discard: sends dead letters again, or gives them up for good."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4, uuid5

import msgspec
import structlog
from litestar import Request, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIFormat, OpenAPIType, Operation, Schema

from services.gateway.http import json_body, preferences
from services.gateway.http.parameters import IdempotencyKey, Prefer
from services.gateway.http.polling import poll
from services.gateway.http.problems import Problem, responses
from services.gateway.http.responses import Answer
from services.gateway.jobs.retry import reopen
from shared.bus import dead_letter_queries, ledger, outbox
from shared.bus.dead_letter_queries import MAX_IDS, LetterCount, LetterFilter, LetterRef
from shared.bus.relay import Relay
from shared.contracts.dead_letter_events import DeadLetterEvent, DiscardRequested, RedriveRequested
from shared.contracts.message import NAMESPACE
from shared.db import Connection, Pool, transaction

MAX_IDS_PER_EVENT = 1000
EXPECTED = 'The body must be a JSON object with filters: {"service": "ingestor", "reason": "failed"}.'
DESCRIPTION = (
    f" Takes the filters of the list, and `ids`. Without any, the request is refused unless it has `all`. At most"
    f" {MAX_IDS} messages are taken, the oldest; with `more`, repeat the request. `dry_run` only counts. The response"
    " is 202; with `Prefer: wait=N` it is 200 if all services have acted in time."
)
log = structlog.get_logger()


class SettleBody(LetterFilter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of the request."""

    all: bool = False
    dry_run: bool = False


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What the request matches, also `by` service, message and reason.

    `not_redrivable` of them can only be discarded. `more` match than one request takes. `settled` counts those that
    were redriven or discarded; it is null while services still act, and in a dry run.
    """

    matched: int
    by: list[LetterCount]
    not_redrivable: int
    more: bool
    dry_run: bool
    settled: int | None


class Requested(msgspec.Struct, frozen=True):
    """Letters to settle, and the events that request it."""

    refs: list[LetterRef]
    events: list[DeadLetterEvent]


@dataclass
class SettleOperation(Operation):
    """An operation whose body is decoded by the route: a misspelt filter must not widen the request."""

    def __post_init__(self) -> None:
        """Describes the body."""
        text, flag, seconds = (
            Schema(type=kind) for kind in (OpenAPIType.STRING, OpenAPIType.BOOLEAN, OpenAPIType.NUMBER)
        )
        uuid = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.UUID)
        properties = {
            **dict.fromkeys(("service", "message", "dataset", "reason"), text),
            "job": uuid,
            **dict.fromkeys(("older_than", "newer_than"), seconds),
            "ids": Schema(type=OpenAPIType.ARRAY, items=uuid, max_items=MAX_IDS),
            **dict.fromkeys(("all", "dry_run"), flag),
        }
        self.request_body = json_body.describe(
            Schema(type=OpenAPIType.OBJECT, properties=dict(properties)), required=True
        )


BODIES = msgspec.json.Decoder(SettleBody)
RESPONSES = {
    **responses(400, 409, 422),
    200: ResponseSpec(data_container=Settlement, description="A dry run, or all services have acted"),
}


@post(
    "/v1/ops/dead-letters/redrive",
    tags=["dead letters"],
    summary="Handle dead letters again",
    description="Sends the messages to their queues again, with all attempts before them; their jobs run again."
    + DESCRIPTION,
    opt={"scope": "admin"},
    status_code=202,
    operation_class=SettleOperation,
    responses=RESPONSES,
)
async def redrive_dead_letters(
    request: Request[Any, Any, Any],
    pool: Pool,
    relay: Relay,
    stopping: asyncio.Event,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
) -> Answer[Settlement]:
    """Requests it from the services that have the letters."""
    return await _settle(RedriveRequested, request, pool, relay, stopping, prefer, idempotency_key)


@post(
    "/v1/ops/dead-letters/discard",
    tags=["dead letters"],
    summary="Discard dead letters",
    description="Marks the messages as discarded: they count no more, and are never handled." + DESCRIPTION,
    opt={"scope": "admin"},
    status_code=202,
    operation_class=SettleOperation,
    responses=RESPONSES,
)
async def discard_dead_letters(
    request: Request[Any, Any, Any],
    pool: Pool,
    relay: Relay,
    stopping: asyncio.Event,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
) -> Answer[Settlement]:
    """Requests it from the services that have the letters."""
    return await _settle(DiscardRequested, request, pool, relay, stopping, prefer, idempotency_key)


async def _settle(
    event_type: type[DeadLetterEvent],
    request: Request[Any, Any, Any],
    pool: Pool,
    relay: Relay,
    stopping: asyncio.Event,
    prefer: str | None,
    idempotency_key: str | None,
) -> Answer[Settlement]:
    body = json_body.decode(await request.body(), BODIES, EXPECTED)
    if body.is_empty and not body.all:
        raise Problem(422, "empty_filter", "The request has no filter.", hint='Send {"all": true} to take all.')
    base = uuid5(NAMESPACE, f"{request.user.id}/{idempotency_key}") if idempotency_key else uuid4()
    async with transaction(pool) as db:
        counts, fixed = await dead_letter_queries.count_letters(db, body, "dead")
        matched = sum(count.count for count in counts)
        taken = matched - fixed if event_type is RedriveRequested else matched
        if matched and not taken:
            raise _not_redrivable(matched)
        settlement = Settlement(
            matched=matched,
            by=counts,
            not_redrivable=fixed,
            more=taken > MAX_IDS,
            dry_run=body.dry_run,
            settled=None,
        )
        if body.dry_run:
            return Answer(settlement, status_code=200)
        requested = await _request(db, event_type, body, base)
    relay.wake()
    log.info("dead letters", request=event_type.name(), letters=len(requested.refs), key=request.user.name)
    return await _respond(pool, stopping, requested, settlement, preferences.wait_seconds(prefer))


async def _request(
    db: Connection, event_type: type[DeadLetterEvent], letter_filter: LetterFilter, base: UUID
) -> Requested:
    """Writes the events. Those of a repeated request have the same `base`, and so the ids of the first ones."""
    refs = await dead_letter_queries.select_refs(
        db, letter_filter, redrivable=event_type is RedriveRequested, limit=MAX_IDS
    )
    ids: dict[str, list[UUID]] = {}
    for ref in refs:
        ids.setdefault(ref.service, []).append(ref.id)
    events = [
        event_type(
            dataset="",
            request_id=uuid5(base, f"{service}/{start}"),
            ids=tuple(of_service[start : start + MAX_IDS_PER_EVENT]),
            service=service,
        )
        for service, of_service in ids.items()
        for start in range(0, len(of_service), MAX_IDS_PER_EVENT)
    ]
    await outbox.insert_messages(db, events)
    if event_type is RedriveRequested:
        await outbox.insert_messages(db, await reopen(db, {ref.job_id for ref in refs if ref.job_id is not None}))
    return Requested(refs, events)


async def _respond(
    pool: Pool, stopping: asyncio.Event, requested: Requested, settlement: Settlement, seconds: int | None
) -> Answer[Settlement]:
    """Responds with 202, or with 200 and the number of settled letters when all services have acted."""
    if seconds is None:
        return Answer(settlement)

    async def is_handled() -> bool:
        async with pool.acquire() as db:
            waiting = [(event.service, event.id) for event in requested.events]
            return await ledger.count_ended(db, waiting) == len(waiting)

    if not await poll(is_handled, bool, seconds=seconds, stopping=stopping):
        return Answer(settlement)
    async with pool.acquire() as db:
        settled = await dead_letter_queries.count_settled(db, requested.refs)
    return Answer(
        msgspec.structs.replace(settlement, settled=settled),
        status_code=200,
        headers={"Preference-Applied": f"wait={seconds}"},
    )


def _not_redrivable(matched: int) -> Problem:
    detail = (
        f"None of the {matched} messages can be redriven: no service could read them, or they are too large to send."
    )
    return Problem(409, "not_redrivable", detail, hint="Discard them; submit the work of a too large message in parts.")
