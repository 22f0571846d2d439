"""Settings come from the environment, under the upper-case names of a struct's fields."""

import os
from collections.abc import Mapping
from typing import TypeVar

import msgspec

Settings = TypeVar("Settings", bound=msgspec.Struct)


class BadSettings(Exception):
    """The environment lacks settings or has wrong ones: one line for each."""


class ServiceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What every service is told. `database_url` logs in as the service's own role."""

    database_url: str
    broker_url: str
    http_host: str = "127.0.0.1"
    http_port: int = 8000
    log_level: str = "info"
    database_connections: int = 10


def read(kind: type[Settings], environment: Mapping[str, str] = os.environ) -> Settings:
    """Raises BadSettings with all mistakes at once, so that one restart is enough to mend them."""
    values = {}
    wrong = []
    for field in msgspec.structs.fields(kind):
        name = field.encode_name.upper()
        text = environment.get(name)
        if text is None:
            if field.required:
                wrong.append(f"{name} is not set")
            continue
        try:
            values[field.name] = msgspec.convert(text, field.type, strict=False)
        except msgspec.ValidationError as error:
            wrong.append(f"{name}={text!r}: {error}")
    if wrong:
        raise BadSettings("\n".join(wrong))
    return kind(**values)
