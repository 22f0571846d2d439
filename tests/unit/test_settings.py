"""Settings from the environment, and the errors when they are wrong."""

import msgspec
import pytest

from shared.settings import BadSettings, ServiceSettings, read

GOOD = {"DATABASE_URL": "postgresql://a", "BROKER_URL": "amqp://b"}


def test_settings_come_from_the_environment_with_their_types() -> None:
    settings = read(ServiceSettings, {**GOOD, "HTTP_PORT": "8080", "OTHER": "x"})
    assert (settings.database_url, settings.broker_url, settings.http_port) == ("postgresql://a", "amqp://b", 8080)
    assert settings.http_host == "127.0.0.1"


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(BadSettings) as caught:
        read(ServiceSettings, {"BROKER_URL": "amqp://b", "HTTP_PORT": "eighty", "DATABASE_CONNECTIONS": "many"})
    lines = str(caught.value).splitlines()
    assert [line.split("=")[0].split()[0] for line in lines] == ["DATABASE_URL", "HTTP_PORT", "DATABASE_CONNECTIONS"]
    assert "eighty" in lines[1]


def test_settings_can_not_be_changed() -> None:
    settings = read(ServiceSettings, GOOD)
    with pytest.raises(AttributeError):
        settings.http_port = 1  # type: ignore[misc] # frozen
    assert isinstance(settings, msgspec.Struct)
