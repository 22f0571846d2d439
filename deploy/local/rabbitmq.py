"""RabbitMQ as a private node with a private epmd, beside any other on the machine."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

from deploy.local import probes
from deploy.local.addresses import HOST
from deploy.local.part import Part
from deploy.local.state import Facts, Home, write_private

# The scripts in the distribution's own folder: its wrapper in /usr/sbin insists on the user `rabbitmq`.
DISTRIBUTION = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
CONFIGURATION = """\
# Written by `millrace up`, again at every start.
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


def program() -> Path | None:
    on_path = shutil.which("rabbitmq-server")
    if DISTRIBUTION.exists():
        return DISTRIBUTION
    return Path(on_path) if on_path else None


def configure(home: Home, facts: Facts) -> None:
    folder = home.rabbitmq
    configuration = CONFIGURATION.format(
        host=HOST,
        port=facts.ports["rabbitmq"],
        metrics=facts.ports["rabbitmq_metrics"],
        password=facts.passwords["millrace"],
    )
    write_private(folder / "rabbitmq.conf", configuration)
    write_private(folder / "enabled_plugins", "[rabbitmq_prometheus].\n")
    cookie = folder / ".erlang.cookie"
    if not cookie.exists():
        # Erlang would make one, but the node and its epmd starter could each make theirs at the same moment.
        write_private(cookie, facts.passwords["millrace"])
        cookie.chmod(0o400)


def epmd(home: Home, facts: Facts) -> Part:
    port = facts.ports["epmd"]
    return Part(
        name="epmd",
        address=f"{HOST}:{port}",
        probe=partial(probes.listens, HOST, port),
        command=["epmd", "-address", HOST, "-port", str(port)],
        env={"PATH": os.environ["PATH"], "HOME": str(home.rabbitmq)},
    )


def part(home: Home, facts: Facts) -> Part:
    port = facts.ports["rabbitmq"]
    found = program()
    return Part(
        name="rabbitmq",
        address=f"{HOST}:{port}",
        probe=partial(probes.listens, HOST, port),
        command=[str(found)] if found else [],
        env=_environment(home.rabbitmq, facts),
        grace=60.0,
        after=("epmd",),
    )


def _environment(folder: Path, facts: Facts) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(folder),  # where Erlang looks for its cookie
        "RABBITMQ_NODENAME": f"millrace-{facts.identity}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": HOST,
        "RABBITMQ_NODE_PORT": str(facts.ports["rabbitmq"]),
        "RABBITMQ_DIST_PORT": str(facts.ports["rabbitmq_dist"]),
        "ERL_EPMD_ADDRESS": HOST,
        "ERL_EPMD_PORT": str(facts.ports["epmd"]),
        # Ours is a part that the supervisor keeps; one that Erlang starts by itself would stay behind as a daemon.
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
        # The script then becomes Erlang itself, instead of a shell in between that would take our signals.
        "RUNNING_UNDER_SYSTEMD": "true",
    }
