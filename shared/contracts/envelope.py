"""Envelope of every message: CloudEvents 1.0 in structured JSON mode."""

import datetime as dt
from uuid import UUID

import msgspec

CONTENT_TYPE = "application/cloudevents+json"
MAX_BYTES = 16 << 20
"""Twice the largest batch that the gateway accepts."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes of CloudEvents, and the extensions `dataset`, `attempt` and `sentat`. `subject` is the id of the job.

    `time` is when the message was written, `sentat` when it was sent; both by the clock of Postgres.
    """

    specversion: str
    id: UUID
    source: str
    type: str
    subject: str
    time: dt.datetime
    datacontenttype: str = "application/json"
    dataset: str
    attempt: int = 0
    sentat: dt.datetime | None = None
    data: msgspec.Raw


def decode(body: bytes) -> Envelope:
    """Decodes an envelope. Raises msgspec.MsgspecError if the body is too large or not an envelope."""
    if len(body) > MAX_BYTES:
        raise msgspec.ValidationError(f"the message has {len(body)} bytes; the limit is {MAX_BYTES}")
    return msgspec.json.decode(body, type=Envelope)
