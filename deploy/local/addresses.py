"""Addresses of the parts, as URLs for services, clients and users."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from deploy.local.state import Home, StackConfig

HOST = "127.0.0.1"
SERVICES = ("gateway", "ingestor", "indexer", "analytics")
SANDBOX = "sandbox"
EXTERNAL_VARIABLES = ("DATABASE_URL", "BROKER_URL", "SPOOL_URL")
"""Environment variables that make the stack use servers elsewhere."""


def database_url(config: StackConfig, role: str) -> str:
    """Returns the database URL for a role."""
    local = f"postgresql://{role}:{config.passwords[role]}@{HOST}:{config.ports.get('postgres', 0)}/millrace"
    external = config.external.get("DATABASE_URL")
    if external is None:
        return local
    if role == "millrace":
        return external
    url = urlsplit(external)
    host = url.netloc.rpartition("@")[2]
    return urlunsplit(url._replace(netloc=f"{role}:{config.passwords[role]}@{host}"))


def broker_url(config: StackConfig) -> str:
    """Returns the URL of RabbitMQ."""
    local = f"amqp://millrace:{config.passwords['millrace']}@{HOST}:{config.ports.get('rabbitmq', 0)}/millrace"
    return config.external.get("BROKER_URL", local)


def spool_url(home: Home, config: StackConfig) -> str:
    """Returns the URL of the spool for uploaded files."""
    return config.external.get("SPOOL_URL", home.spool.as_uri())


def service_url(config: StackConfig, service: str) -> str:
    """Returns the HTTP address of a service, or of the sandbox."""
    return f"http://{HOST}:{config.ports.get(service, 0)}"


def host_and_port(url: str, default_port: int) -> tuple[str, int]:
    """Returns host and port of a URL."""
    parts = urlsplit(url)
    return parts.hostname or HOST, parts.port or default_port


def variables(home: Home, config: StackConfig) -> dict[str, str]:
    """Returns the variables of the state folder's `env` file."""
    return {
        "DATABASE_URL": database_url(config, "millrace"),
        **{f"{role.upper()}_DATABASE_URL": database_url(config, role) for role in SERVICES},
        "BROKER_URL": broker_url(config),
        "SPOOL_URL": spool_url(home, config),
        **{f"{service.upper()}_URL": service_url(config, service) for service in (*SERVICES, SANDBOX)},
        **({"RABBITMQ_METRICS_URL": _metrics_url(config)} if "BROKER_URL" not in config.external else {}),
    }


def source_variables(config: StackConfig) -> dict[str, str]:
    """Returns the variables that point the catalog's sources and dictionaries to the sandbox."""
    names = ("CUSTOMERS", "CRM", "PARAGRAPHS", "DICTIONARY", "WAREHOUSE")
    url = service_url(config, SANDBOX)
    return {
        **{f"SOURCE_{name}": url for name in names},
        "SOURCE_ALLOW": urlsplit(url).netloc,
        "SECRET_CRM_TOKEN": crm_token(config),
    }


def crm_token(config: StackConfig) -> str:
    """Returns the bearer token of the sandbox's CRM."""
    return f"crm-{config.identity}"


def external_urls(home: Home, config: StackConfig, environ: dict[str, str]) -> dict[str, str]:
    """Returns the URLs of external servers that the caller's environment sets.

    A shell that has sourced our own `env` file sets the local URLs, which are not external.
    """
    local = variables(home, config)
    return {
        name: environ[name]
        for name in EXTERNAL_VARIABLES
        if environ.get(name) and (environ[name] != local[name] or name in config.external)
    }


def _metrics_url(config: StackConfig) -> str:
    return f"http://{HOST}:{config.ports.get('rabbitmq_metrics', 0)}/metrics"
