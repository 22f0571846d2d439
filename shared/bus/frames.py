"""AMQP frames of a message to publish: method, header and body. pamqp needs several times as long for a header."""

import functools
import struct

import aiormq
import pamqp.frame

from shared.bus.outbox import OutboxMessage
from shared.contracts.envelope import CONTENT_TYPE

PERSISTENT = 2
HEADER, BODY, END = 2, 3, b"\xce"
FRAME_BYTES = 8
"""Type, channel, size and end mark of each frame."""
BASIC = 60
PROPERTIES, SUBJECT = 0x90E8, 0x0400
"""Flags of the properties: content type, delivery mode, message id, timestamp, type, app id; and correlation id."""


def encode(
    message: OutboxMessage, body: bytes, exchange: str, routing_key: str, *, channel: int, frame_max: int
) -> list[bytes]:
    """Returns the parts of all frames, of which each has `frame_max` bytes at most."""
    header = _header(message, len(body))
    parts = [
        _method_frame(exchange, routing_key, channel, mandatory=message.mandatory),
        struct.pack(">BHI", HEADER, channel, len(header)),
        header,
        END,
    ]
    largest = frame_max - FRAME_BYTES
    for offset in range(0, len(body), largest):
        part = body[offset : offset + largest]
        parts += (struct.pack(">BHI", BODY, channel, len(part)), part, END)
    return parts


@functools.lru_cache(maxsize=4096)
def _method_frame(exchange: str, routing_key: str, channel: int, *, mandatory: bool) -> bytes:
    frame = aiormq.spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
    return pamqp.frame.marshal(frame, channel)


def _header(message: OutboxMessage, size: int) -> bytes:
    return b"".join(
        (
            struct.pack(">HHQH", BASIC, 0, size, PROPERTIES | (SUBJECT if message.subject else 0)),
            _CONTENT_TYPE,
            bytes((PERSISTENT,)),
            _short(message.subject) if message.subject else b"",
            _short(str(message.id)),
            struct.pack(">Q", int(message.created_at.timestamp())),
            _short(message.name),
            _APP_ID,
        )
    )


def _short(text: str) -> bytes:
    """Returns a short string. Raises ValueError if it has more than 255 bytes."""
    encoded = text.encode()
    return bytes((len(encoded),)) + encoded


_CONTENT_TYPE = _short(CONTENT_TYPE)
_APP_ID = _short("millrace")
