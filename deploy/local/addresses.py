"""Where everything listens, as the URLs that services, clients and people are given."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from deploy.local.state import Facts, Home

HOST = "127.0.0.1"
SERVICES = ("gateway", "ingestor", "indexer", "analytics")
SANDBOX = "sandbox"
"""The outside world, played here."""
MOVABLE = ("DATABASE_URL", "BROKER_URL", "SPOOL_URL")


def database_url(facts: Facts, role: str) -> str:
    local = f"postgresql://{role}:{facts.passwords[role]}@{HOST}:{facts.ports.get('postgres', 0)}/millrace"
    elsewhere = facts.elsewhere.get("DATABASE_URL")
    if elsewhere is None:
        return local
    if role == "millrace":
        return elsewhere
    url = urlsplit(elsewhere)
    place = url.netloc.rpartition("@")[2]
    return urlunsplit(url._replace(netloc=f"{role}:{facts.passwords[role]}@{place}"))


def broker_url(facts: Facts) -> str:
    local = f"amqp://millrace:{facts.passwords['millrace']}@{HOST}:{facts.ports.get('rabbitmq', 0)}/millrace"
    return facts.elsewhere.get("BROKER_URL", local)


def spool_url(home: Home, facts: Facts) -> str:
    return facts.elsewhere.get("SPOOL_URL", home.spool.as_uri())


def service_url(facts: Facts, service: str) -> str:
    return f"http://{HOST}:{facts.ports.get(service, 0)}"


def place(url: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or HOST, parts.port or default_port


def variables(home: Home, facts: Facts) -> dict[str, str]:
    """What the file `env` holds."""
    return {
        "DATABASE_URL": database_url(facts, "millrace"),
        **{f"{role.upper()}_DATABASE_URL": database_url(facts, role) for role in SERVICES},
        "BROKER_URL": broker_url(facts),
        "SPOOL_URL": spool_url(home, facts),
        **{f"{service.upper()}_URL": service_url(facts, service) for service in (*SERVICES, SANDBOX)},
        **({"RABBITMQ_METRICS_URL": _metrics_url(facts)} if "BROKER_URL" not in facts.elsewhere else {}),
    }


def sources(facts: Facts) -> dict[str, str]:
    """Where the catalog's sources and dictionaries are, and what is needed to ask there: in the sandbox."""
    names = ("CUSTOMERS", "CRM", "PARAGRAPHS", "DICTIONARY", "WAREHOUSE")
    url = service_url(facts, SANDBOX)
    return {
        **{f"SOURCE_{name}": url for name in names},
        "SOURCE_ALLOW": urlsplit(url).netloc,
        "SECRET_CRM_TOKEN": crm_token(facts),
    }


def crm_token(facts: Facts) -> str:
    """What the sandbox's CRM wants to be told."""
    return f"crm-{facts.identity}"


def _metrics_url(facts: Facts) -> str:
    return f"http://{HOST}:{facts.ports.get('rabbitmq_metrics', 0)}/metrics"


def moved(home: Home, facts: Facts, environ: dict[str, str]) -> dict[str, str]:
    """The URLs by which the caller points the stack elsewhere.

    Somebody who has sourced our own `env` file points it nowhere but here.
    """
    ours = variables(home, facts)
    return {
        name: environ[name]
        for name in MOVABLE
        if environ.get(name) and (environ[name] != ours[name] or name in facts.elsewhere)
    }
