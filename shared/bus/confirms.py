"""Publisher confirms of a batch. A future of aiormq for each message would cost four callbacks."""

import asyncio
from typing import Any


class Confirms:
    """The confirms of a batch; `ended` is done once all have arrived, or when the channel closes."""

    def __init__(self, ended: asyncio.Future[None], count: int) -> None:
        self.ended = ended
        self.each = [Confirm(self) for _ in range(count)]
        self._missing = count

    def count_one(self) -> None:
        """Counts a confirm that has arrived."""
        self._missing -= 1
        if not self._missing and not self.ended.done():
            self.ended.set_result(None)


class Confirm:
    """What a channel of aiormq takes for the future of a confirm: it calls these methods."""

    __slots__ = ("_confirms", "_is_done", "error")

    def __init__(self, confirms: Confirms) -> None:
        self._confirms = confirms
        self._is_done = False
        self.error: Exception | None = None

    def done(self) -> bool:
        """Returns whether the broker has answered."""
        return self._is_done

    cancelled = done

    def set_result(self, _frame: Any) -> None:
        """The broker has the message."""
        self._end(None)

    def set_exception(self, error: Exception) -> None:
        """The broker has returned or refused the message."""
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        self._is_done, self.error = True, error
        self._confirms.count_one()
