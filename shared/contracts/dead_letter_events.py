"""Requests about dead letters, as events: each service acts on its own letters."""

from typing import ClassVar
from uuid import UUID

from shared.contracts.message import Event


class DeadLetterEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A request about dead letters. `ids` are those of the messages; only `service` acts, if it is not empty.

    Several services may have given up the same message.
    """

    receivers: ClassVar[tuple[str, ...]] = ("gateway", "ingestor", "indexer", "analytics")
    identity: ClassVar[tuple[str, ...]] = ("request_id",)

    request_id: UUID
    ids: tuple[UUID, ...]
    service: str = ""


class RedriveRequested(DeadLetterEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody wants these dead letters to be handled again."""


class DiscardRequested(DeadLetterEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody wants these dead letters never to be handled."""
