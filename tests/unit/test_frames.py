"""Frames of a publication: pamqp writes the same bytes."""

import datetime as dt
from uuid import UUID

import pamqp.frame
import pytest
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from shared.bus import frames
from shared.bus.outbox import OutboxMessage
from shared.contracts.envelope import CONTENT_TYPE

CHANNEL = 7
FRAME_MAX = 4096
LARGEST = FRAME_MAX - frames.FRAME_BYTES


def outbox_message(**changed: object) -> OutboxMessage:
    now = dt.datetime(2026, 11, 28, 13, 58, 34, 900_000, tzinfo=dt.timezone(dt.timedelta(hours=5)))
    values = {
        "id": UUID(int=1 << 100),
        "queue": "",
        "name": "chunk.loaded",
        "dataset": "straße",
        "subject": str(UUID(int=2)),
        "command": False,
        "mandatory": True,
        "attempt": 0,
        "data": b"{}",
        "created_at": now,
        "sent_at": now,
    }
    return OutboxMessage(**{**values, **changed})  # type: ignore[arg-type]


def marshalled(message: OutboxMessage, body: bytes, exchange: str, key: str) -> bytes:
    """The frames as aiormq writes them."""
    properties = Basic.Properties(
        content_type=CONTENT_TYPE,
        delivery_mode=2,
        message_id=str(message.id),
        correlation_id=message.subject,
        timestamp=message.created_at,
        message_type=message.name,
        app_id="millrace",
    )
    values: list[pamqp.frame.FrameTypes] = [
        Basic.Publish(exchange=exchange, routing_key=key, mandatory=message.mandatory),
        ContentHeader(properties=properties, body_size=len(body)),
        *(ContentBody(body[start : start + LARGEST]) for start in range(0, len(body), LARGEST)),
    ]
    return b"".join(pamqp.frame.marshal(value, CHANNEL) for value in values)


@pytest.mark.parametrize("size", [0, 1, LARGEST - 1, LARGEST, LARGEST + 1, 3 * LARGEST])
@pytest.mark.parametrize("changed", [{}, {"subject": ""}, {"mandatory": False}, {"name": "ü" * 127, "subject": "é"}])
@pytest.mark.parametrize("address", [("", "a_queue"), ("millrace.events", "chunk.loaded.straße")])
def test_the_frames_are_those_that_pamqp_writes(
    size: int, changed: dict[str, object], address: tuple[str, str]
) -> None:
    message, body = outbox_message(**changed), bytes(size)
    parts = frames.encode(message, body, *address, channel=CHANNEL, frame_max=FRAME_MAX)
    assert b"".join(parts) == marshalled(message, body, *address)
