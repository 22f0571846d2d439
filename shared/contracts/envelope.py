"""What travels on the bus: CloudEvents 1.0 in structured JSON, for commands as for events."""

import datetime as dt
from uuid import UUID

import msgspec

CONTENT_TYPE = "application/cloudevents+json"
LARGEST_BYTES = 16 << 20
"""Room for the largest batch that the gateway takes, twice."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """The attributes are CloudEvents'; `dataset`, `jobid` and `attempt` are extensions of ours."""

    specversion: str
    id: UUID
    source: str
    type: str
    subject: str
    time: dt.datetime
    datacontenttype: str = "application/json"
    dataset: str
    attempt: int = 0
    data: msgspec.Raw


def decode(body: bytes) -> Envelope:
    """Raises msgspec.MsgspecError for a body that is no envelope of ours."""
    if len(body) > LARGEST_BYTES:
        raise msgspec.ValidationError(f"{len(body)} bytes are more than the {LARGEST_BYTES} a message may have")
    return msgspec.json.decode(body, type=Envelope)
