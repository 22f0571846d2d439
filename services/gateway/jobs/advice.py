"""Sentences about the state of a job: where its work is, and what to do."""

import datetime as dt

from services.gateway.jobs.job import Job
from services.gateway.jobs.open_work import OpenWork, WaitingMessage

SLOW = dt.timedelta(seconds=10)
"""A message that the broker has not taken for so long has met a fault."""
STOPPED = ("canceled", "deadline_exceeded")
"""Codes of jobs that were stopped, perhaps after their last command."""


def summarize(job: Job, work: OpenWork) -> str:
    """Says why the job is in its state."""
    if job.ended:
        text = f"The job is {job.status}{f': {job.error.detail}' if job.error else '.'}"
        if work.dead_letters_total:
            text += f" It has {_count(work.dead_letters_total, 'message')} that did not end."
        if work.messages_total:
            text += f" {_count(work.messages_total, 'message')} about its rows are open."
        return text
    state = "being canceled" if work.stopping == "requested" else "being stopped" if work.stopping else job.status
    if not work.messages:
        return f"The job is {state}, and none of its messages is open."
    return f"The job is {state}: {_count(work.messages_total, 'message')} open, {_describe(work.messages[0], work)}."


def advise(job: Job, now: dt.datetime, work: OpenWork) -> str:
    """Says what to do."""
    if job.ended:
        return _advise_ended(job, work)
    services = ", ".join(sorted({message.service for message in work.messages})) or "gateway"
    if work.stopping is not None:
        return f"Wait: this takes about a second. If it takes longer, check that the {services} runs."
    if not work.messages:
        return f"Wait for the gateway. Without progress, the job fails at {_time(job.deadline_at)}."
    return _advise_waiting(work.messages[0], now, work)


def _advise_waiting(first: WaitingMessage, now: dt.datetime, work: OpenWork) -> str:
    if first.due_at is not None:
        cause = f" Fix the cause: {first.problem.detail}" if first.problem else ""
        return f"Wait until {_time(first.due_at)}, when it is tried again.{cause}"
    if first.state == "unsent":
        if now - first.created_at < SLOW:
            return "Wait: it is sent within a second."
        return "Check that RabbitMQ runs and has disk space: the broker has not taken the message."
    if work.ahead(first):
        return f"Wait. More replicas of the {first.service} shorten the queue."
    return f"Wait. If this does not change, check that the {first.service} runs, and its log for this job."


def _advise_ended(job: Job, work: OpenWork) -> str:
    if job.status == "succeeded":
        return "Nothing: all of its work is done."
    if job.status == "partial":
        return f"Fix the failed rows and import them, or replay them: GET /v1/jobs/{job.id}/failed-rows lists them."
    if work.dead_letters_total or (job.error and job.error.code in STOPPED):
        fix = "" if job.status == "canceled" else "Fix the cause, then "
        return f"{fix}POST /v1/jobs/{job.id}/retry: what is loaded stays, the rest is done."
    return (job.error.hint if job.error else "") or "Fix the cause, then submit the work as a new job."


def _describe(message: WaitingMessage, work: OpenWork) -> str:
    if message.due_at is not None:
        return f"the first of them, {message.name}, waits for a retry until {_time(message.due_at)}"
    if message.state == "unsent":
        return f"the first of them, {message.name}, waits to be sent to the {message.service}"
    ahead = work.ahead(message)
    place = f"behind {_count(ahead, 'other')}" if ahead else "at its head, or being handled"
    return f"the first of them, {message.name}, is in the queue {message.queue}, {place}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _time(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
