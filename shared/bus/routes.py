"""Routes: which handler of a service takes which message, and which messages it returns."""

import inspect
import types
import typing
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from shared.contracts.message import Command, Event, Message

Handler = Callable[..., Awaitable[Any]]
Committed = Callable[[Sequence[Message]], None]
"""Takes the messages that the handlers of a transaction returned, after its commit."""


class Route(msgspec.Struct, frozen=True):
    """A message, its handler, the messages that the handler may return, and how many handlers run concurrently.

    `dependencies` maps the handler's further parameters to their types. `together` is how many messages the handler
    takes at most, as a sequence; 0 if it takes one message, not in a sequence. A queue has one group at a time, and
    `concurrency` is that of the large lane then.
    """

    message: type[Message]
    handler: Handler
    then: tuple[type[Message], ...]
    dependencies: dict[str, Any]
    concurrency: int
    together: int

    def queue(self, service: str, lane: str = "") -> str:
        """Returns the name of the service's queue, like `ingestor.load_chunk` or `indexer.chunk_loaded.small`."""
        return queue_name(service, self.message.name(), lane)

    def queues(self, service: str) -> dict[str, str]:
        """Returns the names of the service's queues, by lane."""
        return {lane: self.queue(service, lane) for lane in self.message.lanes}

    def bindings(self, service: str, lane: str) -> list[str]:
        """Returns the routing keys of the service's queue: a command's name, or an event's name with any dataset.

        Another one is for messages that go to this service and not to all receivers.
        """
        audiences = ["", f"#.{service}.#"] if self.message.optional else [""]
        is_command = issubclass(self.message, Command)
        return [routing_key(self.message.name(), "*", lane, audience, command=is_command) for audience in audiences]

    def has_groups(self, lane: str) -> bool:
        """Returns whether the messages of a lane are handled in groups."""
        return self.together > 0 and lane != self.message.large_lane


def queue_name(service: str, name: str, lane: str) -> str:
    """Returns the name of a service's queue for the messages of a name that travel in a lane."""
    return ".".join(filter(None, (service, name.replace(".", "_"), lane)))


def routing_key(name: str, dataset: str, lane: str, audience: str = "", *, command: bool) -> str:
    """Returns a command's name, or an event's name with its dataset; both with the lane and with the audience."""
    words = [name] if command else [name, dataset]  # a dataset or a lane that is empty is a word of the key, too
    if lane or audience:
        words.append(lane)
    if audience:
        words.append(audience)
    return ".".join(words)


class BadRoute(TypeError):
    """A handler's signature contradicts its route."""


def on(message: type[Message], handler: Handler, *, then: Any = None, concurrency: int = 1, together: int = 0) -> Route:
    """Returns the route of a message. With `together=N`, the handler takes up to N waiting messages as a sequence.

    Raises BadRoute unless the handler takes `message`, or a sequence of it, first and returns exactly the messages of
    `then`.
    """
    hints = typing.get_type_hints(handler)
    parameters = list(inspect.signature(handler).parameters)
    expected: Any = Sequence[message] if together else message  # type: ignore[valid-type]
    if not parameters or hints.get(parameters[0]) != expected:
        taken = f"Sequence[{message.__name__}]" if together else f"a {message.__name__}"
        raise BadRoute(f"{handler.__name__} must take {taken} as its first parameter")
    returned, declared = _message_types(hints.get("return")), _message_types(then)
    if returned != declared:
        names = [sorted(kind.__name__ for kind in kinds) for kinds in (returned, declared)]
        raise BadRoute(f"{handler.__name__} returns {names[0]}, its route declares {names[1]}")
    dependencies = {name: hints[name] for name in parameters[1:]}
    messages = tuple(sorted(declared, key=lambda kind: kind.__name__))
    return Route(message, handler, messages, dependencies, concurrency, together)


def to_list(result: Any) -> list[Message]:
    """Returns a handler's result as a list: it may be None, one message or several."""
    if result is None:
        return []
    return [result] if isinstance(result, Message) else list(result)


def _message_types(annotation: Any) -> set[type[Message]]:
    """Returns the message types in `A | B`, `list[A]`, `None` or any nesting of them."""
    if isinstance(annotation, type) and issubclass(annotation, Message):
        if annotation in (Command, Event, Message):
            raise BadRoute(f"{annotation.__name__} is too general: name the message types")
        return {annotation}
    if isinstance(annotation, types.UnionType | types.GenericAlias) or typing.get_origin(annotation) is not None:
        return set().union(*(_message_types(part) for part in typing.get_args(annotation)))
    return set()
