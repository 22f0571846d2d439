"""What a service hears, what it does about it, and what it says then: one line per message."""

import inspect
import types
import typing
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from shared.contracts.message import Command, Event, Message

Handler = Callable[..., Awaitable[Any]]


class Route(msgspec.Struct, frozen=True):
    """A message, its handler, the messages that may follow, and how many are handled at once."""

    message: type[Message]
    handler: Handler
    then: tuple[type[Message], ...]
    needs: dict[str, Any]
    at_once: int

    def queue(self, service: str) -> str:
        """The queue that brings the message to the service."""
        return queue(service, self.message)

    @property
    def binding(self) -> str:
        """The routing key that brings the message: commands by name, events of any dataset."""
        return self.message.name() if issubclass(self.message, Command) else f"{self.message.name()}.*"


def queue(service: str, message: type[Message]) -> str:
    """`ingestor.load_chunk`, `indexer.chunk_loaded`."""
    return f"{service}.{message.name().replace('.', '_')}"


class BadRoute(TypeError):
    """A handler's signature says something else than its route."""


def on(message: type[Message], handler: Handler, *, then: Any = None, at_once: int = 1) -> Route:
    """Checked at import: the handler takes `message` first and returns exactly what `then` names."""
    hints = typing.get_type_hints(handler)
    parameters = list(inspect.signature(handler).parameters)
    if not parameters or hints.get(parameters[0]) is not message:
        raise BadRoute(f"{handler.__name__} must take a {message.__name__} first")
    said, promised = _messages(hints.get("return")), _messages(then)
    if said != promised:
        names = [sorted(kind.__name__ for kind in kinds) for kinds in (said, promised)]
        raise BadRoute(f"{handler.__name__} returns {names[0]}, its route promises {names[1]}")
    needs = {name: hints[name] for name in parameters[1:]}
    return Route(message, handler, tuple(sorted(promised, key=lambda kind: kind.__name__)), needs, at_once)


def _messages(annotation: Any) -> set[type[Message]]:
    """The message types in `A | B`, `list[A]`, `None` or any nesting of them."""
    if isinstance(annotation, type) and issubclass(annotation, Message):
        if annotation in (Command, Event, Message):
            raise BadRoute(f"{annotation.__name__} is too general: name the messages")
        return {annotation}
    if isinstance(annotation, types.UnionType | types.GenericAlias) or typing.get_origin(annotation) is not None:
        return set().union(*(_messages(part) for part in typing.get_args(annotation)))
    return set()
