"""Progress of a queue: up to which time of sending its messages have ended."""

import datetime as dt
import math
import time
from collections import deque

SAMPLE_SECONDS = 1.0


class QueueProgress:
    """Remembers when messages ended here, in samples of a second. A queue hands messages out in the order of sending.

    So a message that was sent before one that has ended some time ago is lost, or still being handled.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, dt.datetime]] = deque()
        self._passed: dt.datetime | None = None
        self._recorded_at = -math.inf

    def record(self, sent_at: dt.datetime) -> None:
        """Records that a message sent at this time has ended now."""
        now = self._recorded_at = time.monotonic()
        if self._samples and now - self._samples[-1][0] < SAMPLE_SECONDS:
            began, highest = self._samples.pop()
            self._samples.append((began, max(highest, sent_at)))
        else:
            self._samples.append((now, sent_at))

    def is_idle(self, seconds: float) -> bool:
        """Returns whether no message has ended here for so long."""
        return time.monotonic() - self._recorded_at > seconds

    def passed(self, seconds: float) -> dt.datetime | None:
        """Returns the latest time of sending of the messages that ended over `seconds` ago."""
        until = time.monotonic() - seconds - SAMPLE_SECONDS
        while self._samples and self._samples[0][0] <= until:
            _, sent_at = self._samples.popleft()
            self._passed = sent_at if self._passed is None else max(self._passed, sent_at)
        return self._passed
