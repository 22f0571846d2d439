"""Failures of handlers, and the backoff between attempts."""

import datetime as dt
import random

from shared.contracts.parts import Problem

MAX_ATTEMPTS = 6
MAX_BACKOFF_SECONDS = 60.0
MAX_RETRY_AFTER_SECONDS = 900.0
MAX_CRASHES = 5
"""Deliveries that end with the death of the process, after which a message is given up."""
NOT_READY_SECONDS = (0.25, 5.0)
NOT_NOW_SECONDS = (1.0, 30.0)
"""The shortest and the longest pause before the same work is tried again."""
SHARE_OF_AGE = 0.1


class NotReady(Exception):
    """The work cannot start yet. The message is retried soon, and the delivery does not count as an attempt."""


class PermanentFailure(Exception):
    """Retrying would not help: the job fails with the problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class TransientFailure(Exception):
    """An outside system is unavailable, and may ask for a retry after `seconds`. Counts as an attempt.

    The job fails with the problem after the last attempt.
    """

    def __init__(self, seconds: float | None, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.seconds = seconds
        self.problem = problem


def retry_delay(error: Exception, attempt: int) -> float:
    """Returns the seconds until attempt `attempt` + 1: the backoff, or longer if the outside system requests it."""
    retry_after = error.seconds if isinstance(error, TransientFailure) and error.seconds is not None else 0.0
    return max(backoff(attempt), min(retry_after, MAX_RETRY_AFTER_SECONDS))


def backoff(attempt: int) -> float:
    """Returns exponential backoff in seconds before attempt `attempt` + 1: from 1 s, with 20 % jitter."""
    return float(min(2.0**attempt, MAX_BACKOFF_SECONDS)) * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load only


def pause(created_at: dt.datetime, limits: tuple[float, float]) -> float:
    """Returns the pause in seconds before a message of this age is tried again, with 20 % jitter: it grows with age."""
    age = (dt.datetime.now(dt.UTC) - created_at).total_seconds()
    return min(max(age * SHARE_OF_AGE, limits[0]), limits[1]) * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load only


def to_problem(error: Exception, attempts: int) -> Problem:
    """Returns the problem that the job fails with. The cause comes first, the number of attempts last."""
    if isinstance(error, PermanentFailure | TransientFailure):
        return error.problem
    return Problem(
        code="gave_up",
        detail=f"{type(error).__name__}: {error} (after {attempts} attempts)",
        hint="The service's log has the full error under this job's id.",
    )


def not_now(error: Exception) -> Problem:
    """Returns why a message waits that may succeed later."""
    hint = "It is tried again until there is room, or until the deadline of its job."
    return Problem(code="not_now", detail=f"{type(error).__name__}: {error}", hint=hint)


def poison(deliveries: int) -> Problem:
    """Returns the problem of a message that has killed its process."""
    detail = f"The process was killed in each of {deliveries} deliveries of this message."
    hint = "Look for a lack of memory on the machine of the service, then redrive the message."
    return Problem(code="poison", detail=detail, hint=hint)


def undecodable(error: Exception) -> Problem:
    """Returns the problem of a message of which only the envelope can be read."""
    hint = "A newer version of the sender may have written it: update this service, then redrive the message."
    return Problem(code="undecodable", detail=f"The message can't be read: {error}", hint=hint)


def too_large(error: Exception) -> Problem:
    """Returns the problem of a message that is larger than its receivers accept."""
    hint = "It can't be redriven: submit the work again in smaller parts, then discard the message."
    return Problem(code="message_too_large", detail=f"The message can't be sent: {error}.", hint=hint)
