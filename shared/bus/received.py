"""A received message: the message with its envelope, decoded from the body of a delivery."""

import msgspec

from shared.contracts import envelope
from shared.contracts.envelope import Envelope
from shared.contracts.message import Message

DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Received(msgspec.Struct, frozen=True):
    """A message as it was delivered; `redeliveries` counts its earlier deliveries without an end."""

    message: Message
    cloud_event: Envelope
    redeliveries: int


class Undecodable(Exception):
    """The body is not a message of its queue. Has the envelope, if that alone can be read."""

    def __init__(self, error: Exception, cloud_event: Envelope | None) -> None:
        super().__init__(str(error))
        self.cloud_event = cloud_event


def decode(body: bytes, message_type: type[Message], redeliveries: int) -> Received:
    """Raises Undecodable."""
    try:
        cloud_event = envelope.decode(body)
        if cloud_event.type != message_type.name():
            raise msgspec.ValidationError(f"unexpected message {cloud_event.type}")
    except DECODE_ERRORS as error:
        raise Undecodable(error, None) from error
    try:
        message = message_type.decode(cloud_event.data)
        if cloud_event.id != message.id:
            raise msgspec.ValidationError(f"the id should be {message.id}")
    except DECODE_ERRORS as error:
        raise Undecodable(error, cloud_event) from error
    return Received(message, cloud_event, redeliveries)
