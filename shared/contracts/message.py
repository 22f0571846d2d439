"""Base classes of messages: the name comes from the class, the id from the content."""

import functools
import re
import uuid
from typing import ClassVar, Self

import msgspec

NAMESPACE = uuid.UUID("6d696c6c-7261-4365-8000-636f6e747261")
WORD = re.compile(r"[A-Z][a-z0-9]*")


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """A command or an event about one dataset, usually on behalf of a job."""

    separator: ClassVar[str]
    identity: ClassVar[tuple[str, ...]]
    """The fields that the id is derived from."""
    receivers: ClassVar[tuple[str, ...]] = ()
    """The services that handle messages of this type."""
    optional: ClassVar[tuple[str, ...]] = ()
    """Those of the `receivers` that only some of the messages go to."""

    lanes: ClassVar[tuple[str, ...]] = ("",)
    """Each receiver has a queue for each lane, so that small messages overtake large ones."""

    large_lane: ClassVar[str | None] = None
    """The lane of messages that are too large to be handled in groups."""

    dataset: str

    @property
    def lane(self) -> str:
        """The lane that the message travels in."""
        return ""

    @property
    def row_count(self) -> int:
        """How many rows its handling reads or writes, which bounds the group that it is handled in."""
        return 0

    @property
    def to(self) -> tuple[str, ...]:
        """The services that handle this message. It stays open in the sender's outbox until each has ended it."""
        return self.receivers

    @property
    def audience(self) -> str:
        """The words of the routing key that name the receivers; empty for a message to all receivers of its type."""
        return "" if self.to == self.receivers else ".".join(self.to)

    @classmethod
    def name(cls) -> str:
        """Returns the name on the wire: `load_chunk` for LoadChunk, `chunk.loaded` for ChunkLoaded."""
        return cls.separator.join(WORD.findall(cls.__name__)).lower()

    @functools.cached_property
    def id(self) -> uuid.UUID:
        """UUIDv5 of name and identity: the same message always has the same id, so that inboxes deduplicate."""
        identity = "/".join(str(getattr(self, field)) for field in self.identity)
        return uuid.uuid5(NAMESPACE, f"{self.name()}/{identity}")

    def encode(self) -> bytes:
        """Returns the fields as JSON, without the name, which is in the envelope."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes | msgspec.Raw) -> Self:
        """Decodes the fields. Raises msgspec.ValidationError if they are not those of this message."""
        return msgspec.json.decode(data, type=cls, strict=True)


class Command(Message, frozen=True, kw_only=True, omit_defaults=True):
    """A request to exactly one service."""

    separator: ClassVar[str] = "_"


class Event(Message, frozen=True, kw_only=True, omit_defaults=True):
    """A fact that any service may consume."""

    separator: ClassVar[str] = "."
