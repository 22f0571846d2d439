"""RabbitMQ as a private node with its own epmd, independent of other nodes on the machine."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

from deploy.local import probes
from deploy.local.addresses import HOST
from deploy.local.part import Part
from deploy.local.state import Home, StackConfig, write_private

# Not the wrapper in /usr/sbin, which requires the user `rabbitmq`.
DISTRIBUTION = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
CONFIGURATION = """\
# Written by `millrace up` at every start.
listeners.tcp.local = {host}:{port}
default_vhost = millrace
default_user = millrace
default_pass = {password}
default_user_tags.administrator = true
default_permissions.configure = .*
default_permissions.read = .*
default_permissions.write = .*
consumer_timeout = 1800000
disk_free_limit.absolute = 1GB
prometheus.tcp.ip = {host}
prometheus.tcp.port = {metrics}
log.console = true
log.console.level = info
log.file = false
"""


def find_program() -> Path | None:
    """Returns the server's start script; None if RabbitMQ is not installed."""
    on_path = shutil.which("rabbitmq-server")
    if DISTRIBUTION.exists():
        return DISTRIBUTION
    return Path(on_path) if on_path else None


def configure(home: Home, config: StackConfig) -> None:
    """Writes the configuration files and the Erlang cookie."""
    folder = home.rabbitmq
    configuration = CONFIGURATION.format(
        host=HOST,
        port=config.ports["rabbitmq"],
        metrics=config.ports["rabbitmq_metrics"],
        password=config.passwords["millrace"],
    )
    write_private(folder / "rabbitmq.conf", configuration)
    write_private(folder / "enabled_plugins", "[rabbitmq_prometheus].\n")
    cookie = folder / ".erlang.cookie"
    if not cookie.exists():
        # If Erlang created it, the node and its epmd starter could create different ones at the same time.
        write_private(cookie, config.passwords["millrace"])
        cookie.chmod(0o400)


def build_epmd(home: Home, config: StackConfig) -> Part:
    """Returns epmd, Erlang's port mapper, as a part."""
    port = config.ports["epmd"]
    return Part(
        name="epmd",
        address=f"{HOST}:{port}",
        probe=partial(probes.listens, HOST, port),
        command=["epmd", "-address", HOST, "-port", str(port)],
        env={"PATH": os.environ["PATH"], "HOME": str(home.rabbitmq)},
    )


def build_part(home: Home, config: StackConfig) -> Part:
    """Returns the node as a part; its command is empty if RabbitMQ is not installed."""
    port = config.ports["rabbitmq"]
    program = find_program()
    return Part(
        name="rabbitmq",
        address=f"{HOST}:{port}",
        probe=partial(probes.listens, HOST, port),
        command=[str(program)] if program else [],
        env=_environment(home.rabbitmq, config),
        grace=60.0,
        after=("epmd",),
    )


def _environment(folder: Path, config: StackConfig) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(folder),  # Erlang reads its cookie from there
        "RABBITMQ_NODENAME": f"millrace-{config.identity}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": HOST,
        "RABBITMQ_NODE_PORT": str(config.ports["rabbitmq"]),
        "RABBITMQ_DIST_PORT": str(config.ports["rabbitmq_dist"]),
        "ERL_EPMD_ADDRESS": HOST,
        "ERL_EPMD_PORT": str(config.ports["epmd"]),
        # The supervisor runs epmd as a part; one started by Erlang would stay as a daemon.
        "ERL_AFLAGS": "-start_epmd false",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-kernel inet_dist_use_interface {{{HOST.replace('.', ',')}}}",
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONFIG_FILES": str(folder / "conf.d"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        # The script then executes Erlang, instead of a shell in between that would receive our signals.
        "RUNNING_UNDER_SYSTEMD": "true",
    }
