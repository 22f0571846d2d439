"""GET /v1/ops/dead-letters: messages that a service has given up."""

import datetime as dt
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import get
from litestar.params import Parameter

from services.gateway.http.problems import Problem, responses
from services.gateway.http.responses import Answer
from shared.bus import dead_letter_queries
from shared.bus.dead_letter_queries import Attempt, LetterFilter, ListedLetter, Position, State
from shared.bus.dead_letters import Reason
from shared.contracts import parts
from shared.db import Pool
from shared.reads.ingestor.failed_rows import WITHOUT_NUL

PAYLOAD_BYTES = 16 << 10
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)


class DeadLetterBody(msgspec.Struct, frozen=True, kw_only=True):
    """A message that `service` has given up, `age_seconds` ago.

    `attempts` are the recorded ones; the last one ended with `problem`. `payload` is JSON, or text if it is truncated
    or no JSON; the whole message has `payload_bytes`.
    """

    id: UUID
    service: str
    queue: str
    message: str
    dataset: str
    job: UUID | None
    reason: Reason
    state: State
    problem: parts.Problem
    attempts: list[Attempt]
    created_at: dt.datetime
    died_at: dt.datetime
    age_seconds: float
    redriven: int
    redrivable: bool
    payload: Any
    payload_bytes: int
    payload_truncated: bool


class DeadLetters(msgspec.Struct, frozen=True):
    """Dead letters, newest first. `total` counts all that match; `next` is the `after` of the next page, or null."""

    data: list[DeadLetterBody]
    next: str | None
    total: int


@get(
    "/v1/ops/dead-letters",
    tags=["dead letters"],
    summary="List messages that were given up",
    description="Newest first, from all services. Without a `reason`, the messages of canceled jobs are left out.",
    opt={"scope": "admin"},
    responses=responses(422),
)
async def list_dead_letters(
    pool: Pool,
    service: Annotated[str | None, Parameter(pattern=WITHOUT_NUL, description="The service that gave it up")] = None,
    message: Annotated[
        str | None, Parameter(pattern=WITHOUT_NUL, description="The name of the message, like load_chunk")
    ] = None,
    dataset: Annotated[str | None, Parameter(pattern=WITHOUT_NUL)] = None,
    job: UUID | None = None,
    reason: Reason | None = None,
    in_state: Annotated[State, Parameter(query="state")] = "dead",
    older_than: Annotated[float | None, Parameter(ge=0, le=1e9, description="Given up longer ago, in seconds")] = None,
    newer_than: Annotated[float | None, Parameter(ge=0, le=1e9, description="Given up since, in seconds")] = None,
    limit: Annotated[int, Parameter(ge=1, le=200)] = 50,
    after: Annotated[str | None, Parameter(description="The `next` of the previous page")] = None,
) -> Answer[DeadLetters]:
    """Returns a page of letters with their attempts."""
    letter_filter = LetterFilter(
        service=service,
        message=message,
        dataset=dataset,
        job=job,
        reason=reason,
        older_than=older_than,
        newer_than=newer_than,
    )
    position = _parse_cursor(after) if after is not None else None
    async with pool.acquire() as db, db.transaction(isolation="repeatable_read", readonly=True):
        counts, _ = await dead_letter_queries.count_letters(db, letter_filter, in_state)
        letters = await dead_letter_queries.select_letters(
            db, letter_filter, in_state, limit=limit + 1, after=position, data_bytes=PAYLOAD_BYTES
        )
        page = letters[:limit]
        attempts = await dead_letter_queries.select_attempts(db, page)
    bodies = [_to_body(letter, attempts.get((letter.service, letter.id), [])) for letter in page]
    next_after = _to_cursor(page[-1]) if len(letters) > limit else None
    return Answer(DeadLetters(bodies, next_after, sum(count.count for count in counts)))


def _to_body(letter: ListedLetter, attempts: list[Attempt]) -> DeadLetterBody:
    return DeadLetterBody(
        id=letter.id,
        service=letter.service,
        queue=letter.queue,
        message=letter.name,
        dataset=letter.dataset,
        job=letter.job_id,
        reason=letter.reason,
        state=letter.state,
        problem=letter.problem,
        attempts=attempts,
        created_at=letter.created_at,
        died_at=letter.died_at,
        age_seconds=letter.age_seconds,
        redriven=letter.redriven,
        redrivable=letter.redrivable,
        payload=_payload(letter.data),
        payload_bytes=letter.data_bytes,
        payload_truncated=letter.data_bytes > len(letter.data),
    )


def _payload(data: bytes) -> Any:
    """Returns JSON as it is, with all digits of its numbers, and anything else as text."""
    try:
        data.decode()
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return data.decode(errors="replace")
    return msgspec.Raw(data)


def _to_cursor(letter: ListedLetter) -> str:
    return f"{(letter.died_at - EPOCH) // MICROSECOND}.{letter.service}.{letter.id}"


def _parse_cursor(text: str) -> Position:
    """Returns the place that a cursor stands for. Raises Problem 422."""
    try:
        microseconds, service, letter_id = text.replace("\x00", ".").split(".")
        return Position(EPOCH + int(microseconds) * MICROSECOND, service, UUID(letter_id))
    except (ValueError, OverflowError) as error:
        detail = "after: not a cursor. Use the `next` of a page unchanged."
        raise Problem(422, "bad_cursor", detail) from error
