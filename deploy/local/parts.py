"""The parts of the stack, in start order."""

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
    host_and_port,
    service_url,
    source_variables,
    spool_url,
)
from deploy.local.part import Part
from deploy.local.state import REPOSITORY, Home, StackConfig

SERVERS = ("postgres", "epmd", "rabbitmq")
NAMES = (*SERVERS, SANDBOX, *SERVICES)
STOP_ORDER = (frozenset({*SERVICES, SANDBOX}), frozenset({"postgres", "rabbitmq"}), frozenset({"epmd"}))
"""Parts of a set stop in parallel, and before those of the next set."""
PORTS = {"postgres": ["postgres"], "epmd": ["epmd"], "rabbitmq": ["rabbitmq", "rabbitmq_dist", "rabbitmq_metrics"]}


def build_parts(home: Home, config: StackConfig) -> dict[str, Part]:
    """Returns all parts by name."""
    if url := config.external.get("DATABASE_URL"):
        database = [_external("postgres", url, 5432, probes.postgres_accepts)]
    else:
        database = [postgres.build_part(home, config)]
    if url := config.external.get("BROKER_URL"):
        broker = [_external("rabbitmq", url, 5671 if url.startswith("amqps") else 5672, probes.listens)]
    else:
        broker = [rabbitmq.build_epmd(home, config), rabbitmq.build_part(home, config)]
    services = [_service(home, config, name) for name in SERVICES]
    return {part.name: part for part in [*database, *broker, _sandbox(config), *services]}


def local_names(config: StackConfig) -> set[str]:
    """Returns the names of the parts that run on this machine."""
    database = {"postgres"} if "DATABASE_URL" in config.external else set()
    broker = {"epmd", "rabbitmq"} if "BROKER_URL" in config.external else set()
    return set(NAMES) - database - broker


def port_names(part: str) -> list[str]:
    """Returns the names of the ports that a part listens on."""
    return PORTS.get(part, [part])


def _service(home: Home, config: StackConfig, name: str) -> Part:
    port = config.ports[name]
    return Part(
        name=name,
        address=service_url(config, name),
        probe=partial(probes.http_ready, HOST, port),
        command=[sys.executable, "-m", f"services.{name}"],
        env={
            "CATALOG_DIR": str(REPOSITORY / "catalog"),
            "LOG_LEVEL": "info",
            **(source_variables(config) if name in ("ingestor", "indexer") else {}),
            **os.environ,  # credentials of a cloud spool, addresses and secrets of real sources
            "DATABASE_URL": database_url(config, name),
            "BROKER_URL": broker_url(config),
            "SPOOL_URL": spool_url(home, config),
            "HTTP_HOST": HOST,
            "HTTP_PORT": str(port),
            "PYTHONUNBUFFERED": "1",
        },
        folder=REPOSITORY,
    )


def _sandbox(config: StackConfig) -> Part:
    port = config.ports.get(SANDBOX, 0)
    return Part(
        name=SANDBOX,
        address=service_url(config, SANDBOX),
        probe=partial(probes.http_ready, HOST, port),
        command=[sys.executable, "-m", SANDBOX],
        env={"HTTP_HOST": HOST, "HTTP_PORT": str(port), "CRM_TOKEN": crm_token(config), "PYTHONUNBUFFERED": "1"},
        folder=REPOSITORY,
    )


def _external(name: str, url: str, default_port: int, probe: Callable[[str, int], Awaitable[bool]]) -> Part:
    host, port = host_and_port(url, default_port)
    return Part(name=name, address=f"{host}:{port}", probe=partial(probe, host, port), external=True)
