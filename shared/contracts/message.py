"""What every message has: a name that lives on its type, and an id derived from what it asks or tells."""

import re
import uuid
from typing import ClassVar, Self

import msgspec

NAMESPACE = uuid.UUID("6d696c6c-7261-4365-8000-636f6e747261")
WORD = re.compile(r"[A-Z][a-z0-9]*")


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A command or an event about one dataset, most often on behalf of one job."""

    separator: ClassVar[str]
    identity: ClassVar[tuple[str, ...]]
    mandatory: ClassVar[bool] = True
    """Whether it is a fault if nobody listens."""

    dataset: str

    @classmethod
    def name(cls) -> str:
        """`LoadChunk` is `load_chunk`, `ChunkLoaded` is `chunk.loaded`."""
        return cls.separator.join(WORD.findall(cls.__name__)).lower()

    @property
    def id(self) -> uuid.UUID:
        """The same question has the same id, however often it is sent: the inbox absorbs repeats."""
        identity = "/".join(str(getattr(self, field)) for field in self.identity)
        return uuid.uuid5(NAMESPACE, f"{self.name()}/{identity}")

    def encode(self) -> bytes:
        """JSON of the fields alone; the name travels in the envelope."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes | msgspec.Raw) -> Self:
        """Raises msgspec.ValidationError for anything that is not this message."""
        return msgspec.json.decode(data, type=cls, strict=True)


class Command(Message, frozen=True, kw_only=True, omit_defaults=True):
    """An order to exactly one service."""

    separator: ClassVar[str] = "_"


class Event(Message, frozen=True, kw_only=True, omit_defaults=True):
    """A fact that has happened, for anyone."""

    separator: ClassVar[str] = "."
