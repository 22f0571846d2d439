"""Failures of handlers, and the backoff between attempts."""

import random

from shared.contracts.parts import Problem

MAX_ATTEMPTS = 6
MAX_BACKOFF_SECONDS = 60.0
MAX_RETRY_AFTER_SECONDS = 900.0


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


def to_problem(error: Exception, attempts: int) -> Problem:
    """Returns the problem that the job fails with. The cause comes first, the number of attempts last."""
    if isinstance(error, PermanentFailure | TransientFailure):
        return error.problem
    return Problem(
        code="gave_up",
        detail=f"{type(error).__name__}: {error} (after {attempts} attempts)",
        hint="The service's log has the full error under this job's id.",
    )
