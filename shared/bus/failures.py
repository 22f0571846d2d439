"""What is done about a failure: a bad message is a dead letter, two that met try at once, all else is tried later."""

import random

from shared.contracts.parts import Problem

ATTEMPTS = 6
LONGEST_SECONDS = 60.0
MAX_RETRY_AFTER_SECONDS = 900.0


class NotReady(Exception):
    """The work can't be done yet, through nobody's fault: it comes again soon and does not count as an attempt."""


class PermanentFailure(Exception):
    """Trying again would not help. Carries the problem that the job fails with."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class TransientFailure(Exception):
    """Somebody outside is away, or wants us back in `seconds`. Counts as an attempt; the job fails with the problem."""

    def __init__(self, seconds: float | None, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.seconds = seconds
        self.problem = problem


def pause(error: Exception, attempt: int) -> float:
    """Seconds until attempt `attempt` + 1: the usual ones, or more if somebody outside has asked for more."""
    asked = error.seconds if isinstance(error, TransientFailure) and error.seconds is not None else 0.0
    return max(backoff(attempt), min(asked, MAX_RETRY_AFTER_SECONDS))


def backoff(attempt: int) -> float:
    """Seconds until attempt `attempt` + 1: doubling from one second, 20 % of jitter."""
    return float(min(2.0**attempt, LONGEST_SECONDS)) * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load only


def problem(error: Exception, attempts: int) -> Problem:
    """What a job is told when its work is given up. The cause stands first, never the number of attempts."""
    if isinstance(error, PermanentFailure | TransientFailure):
        return error.problem
    return Problem(
        code="gave_up",
        detail=f"{type(error).__name__}: {error} (after {attempts} attempts)",
        hint="The service's log has the whole error under this job's id.",
    )
