"""The parts of the stack, in the order in which they start."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial

from deploy.local import postgres, probes, rabbitmq
from deploy.local.addresses import (
    HOST,
    SANDBOX,
    SERVICES,
    broker_url,
    crm_token,
    database_url,
    place,
    service_url,
    sources,
    spool_url,
)
from deploy.local.part import Part
from deploy.local.state import REPOSITORY, Facts, Home

SERVERS = ("postgres", "epmd", "rabbitmq")
NAMES = (*SERVERS, SANDBOX, *SERVICES)
# Told to stop together, and awaited, before the next ones are.
STOP_ORDER = (frozenset({*SERVICES, SANDBOX}), frozenset({"postgres", "rabbitmq"}), frozenset({"epmd"}))
PORTS = {"postgres": ["postgres"], "epmd": ["epmd"], "rabbitmq": ["rabbitmq", "rabbitmq_dist", "rabbitmq_metrics"]}


def parts(home: Home, facts: Facts) -> dict[str, Part]:
    if url := facts.elsewhere.get("DATABASE_URL"):
        database = [_elsewhere("postgres", url, 5432, probes.postgres_accepts)]
    else:
        database = [postgres.part(home, facts)]
    if url := facts.elsewhere.get("BROKER_URL"):
        broker = [_elsewhere("rabbitmq", url, 5671 if url.startswith("amqps") else 5672, probes.listens)]
    else:
        broker = [rabbitmq.epmd(home, facts), rabbitmq.part(home, facts)]
    services = [service(home, facts, name) for name in SERVICES]
    return {part.name: part for part in [*database, *broker, sandbox(facts), *services]}


def local_names(facts: Facts) -> set[str]:
    """The parts that are started here."""
    database = {"postgres"} if "DATABASE_URL" in facts.elsewhere else set()
    broker = {"epmd", "rabbitmq"} if "BROKER_URL" in facts.elsewhere else set()
    return set(NAMES) - database - broker


def ports_of(name: str) -> list[str]:
    return PORTS.get(name, [name])


def service(home: Home, facts: Facts, name: str) -> Part:
    port = facts.ports[name]
    return Part(
        name=name,
        address=service_url(facts, name),
        probe=partial(probes.http_ready, HOST, port),
        command=[sys.executable, "-m", f"services.{name}"],
        env={
            "CATALOG_DIR": str(REPOSITORY / "catalog"),
            "LOG_LEVEL": "info",
            **(sources(facts) if name in ("ingestor", "indexer") else {}),
            **os.environ,  # a spool in a cloud store needs its credentials, a source elsewhere its address and secret
            "DATABASE_URL": database_url(facts, name),
            "BROKER_URL": broker_url(facts),
            "SPOOL_URL": spool_url(home, facts),
            "HTTP_HOST": HOST,
            "HTTP_PORT": str(port),
            "PYTHONUNBUFFERED": "1",
        },
        folder=REPOSITORY,
    )


def sandbox(facts: Facts) -> Part:
    port = facts.ports.get(SANDBOX, 0)
    return Part(
        name=SANDBOX,
        address=service_url(facts, SANDBOX),
        probe=partial(probes.http_ready, HOST, port),
        command=[sys.executable, "-m", SANDBOX],
        env={"HTTP_HOST": HOST, "HTTP_PORT": str(port), "CRM_TOKEN": crm_token(facts), "PYTHONUNBUFFERED": "1"},
        folder=REPOSITORY,
    )


def _elsewhere(name: str, url: str, default_port: int, probe: Callable[[str, int], Awaitable[bool]]) -> Part:
    host, port = place(url, default_port)
    return Part(name=name, address=f"{host}:{port}", probe=partial(probe, host, port), elsewhere=True)
