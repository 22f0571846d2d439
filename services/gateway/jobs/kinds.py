"""The kinds of job. Each is one declaration, registered by the feature that offers it."""

import datetime as dt
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Literal
from uuid import UUID

import msgspec

from services.gateway.jobs.job import KIND_NAMES, Job, JobBody, JobRequest, Phase, common_body
from shared.bus.routes import Route
from shared.contracts.commands import JobCommand
from shared.db import Connection


class JobKind(msgspec.Struct, frozen=True, kw_only=True):
    """The declaration of a kind of job.

    `command` is the job's first message and `owner` the service that handles it. `routes` are the events by which the
    gateway follows the job to its end. `phase` is the first one.
    """

    name: str
    command: type[JobCommand]
    owner: Literal["ingestor", "indexer", "analytics"]
    routes: tuple[Route, ...]
    phase: Phase = "plan"
    exclusive: str | None = None
    """The thing that only one unfinished job at a time may work on, for example a source. The job's target names it."""
    join: Callable[[Connection, JobRequest, UUID], Awaitable[bool]] | None = None
    """Records what a request expects of an exclusive job; False if that job has finished in the meantime."""
    body: type[JobBody] = JobBody
    to_body: Callable[[Job, JobBody], JobBody] | None = None
    """Adds the kind's own fields to the common body."""
    read_result: Callable[[Connection, JobBody, int | None, int | None], Awaitable[JobBody]] | None = None
    """Adds one page of a result that is stored elsewhere; takes page and limit."""
    result: str = ""
    """One sentence about the kind's own fields, for the API's description."""
    deadline: dt.timedelta = dt.timedelta(days=1)
    """The time that a job has, from its submission; a request may set another one."""
    keep_command: bool = True
    """False if the command carries rows, which are dropped when the job ends."""


_registered: dict[str, JobKind] = {}


def register(kind: JobKind) -> JobKind:
    """Adds a kind to the registry. Raises ValueError if the name is taken."""
    if kind.name in _registered:
        raise ValueError(f"the kind of job {kind.name!r} is registered twice")
    _registered[kind.name] = kind
    KIND_NAMES.append(kind.name)
    return kind


def registered() -> tuple[JobKind, ...]:
    """Returns all kinds, in the order of registration."""
    return tuple(_registered.values())


def find(name: str) -> JobKind:
    """Returns the kind with this name. Raises KeyError."""
    return _registered[name]


def build_request(
    kind: JobKind,
    command: JobCommand,
    target: str | None,
    *,
    api_key: str | None,
    idempotency_key: str | None,
    **fields: Any,
) -> JobRequest:
    """Returns the request for a job that has `target` exclusively. The fingerprint covers kind, dataset and target.

    Raises ValueError for a kind that is not exclusive.
    """
    if kind.exclusive is None:
        raise ValueError(f"a job of the kind {kind.name!r} has no target")
    return JobRequest(
        kind=kind.name,
        command=command,
        api_key=api_key,
        idempotency_key=idempotency_key,
        fingerprint=hashlib.sha256(f"{kind.name}/{command.dataset}/{target}".encode()).hexdigest(),
        target=target,
        **fields,
    )


def to_body(job: Job, now: dt.datetime) -> JobBody:
    """Returns the public view of the job at `now`."""
    body = common_body(job, now)
    extend = find(job.kind).to_body
    return body if extend is None else extend(job, body)
