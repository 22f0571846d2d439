"""Settings from environment variables, named like a struct's fields in upper case."""

import os
from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec

Settings = TypeVar("Settings", bound=msgspec.Struct)
Days = Annotated[int, msgspec.Meta(ge=1)]
"""How long rows are kept."""


class BadSettings(Exception):
    """Settings are missing or invalid: one line for each."""


class ServiceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of every service. `database_url` names the service's own role."""

    database_url: str
    broker_url: str
    http_host: str = "127.0.0.1"
    http_port: int = 8000
    log_level: str = "info"
    database_connections: int = 10


def read(kind: type[Settings], environment: Mapping[str, str] = os.environ) -> Settings:
    """Reads settings from the environment. Raises BadSettings with all errors at once."""
    values = {}
    errors = []
    for field in msgspec.structs.fields(kind):
        name = field.encode_name.upper()
        text = environment.get(name)
        if text is None:
            if field.required:
                errors.append(f"{name} is not set")
            continue
        try:
            values[field.name] = msgspec.convert(text, field.type, strict=False)
        except msgspec.ValidationError as error:
            errors.append(f"{name}={text!r}: {error}")
    if errors:
        raise BadSettings("\n".join(errors))
    return kind(**values)
