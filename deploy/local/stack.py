"""Starts and stops the local stack, and shows its status."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

from deploy.local import logs, packages, ports, postgres, rabbitmq, steps
from deploy.local.addresses import SERVICES, external_urls, variables
from deploy.local.part import Echo, Part, StackError
from deploy.local.parts import NAMES, SERVERS, STOP_ORDER, build_parts, local_names, port_names
from deploy.local.probes import until
from deploy.local.processes import mark, running_pid, send_signal, stop_orphan, uptime, wait_gone
from deploy.local.state import REPOSITORY, Home, StackConfig, write_private

READY_SECONDS = 60.0
STOP_SECONDS = 90.0
MAX_STARTS = 5
LOG_LINES_SHOWN = 15


@dataclass(frozen=True)
class Status:
    """Status of a part, as `millrace status` shows it."""

    part: str
    state: str
    pid: int | None
    uptime: float | None
    address: str

    @property
    def healthy(self) -> bool:
        return self.state in {"ready", "elsewhere"}


async def up(home: Home, names: Iterable[str], echo: Echo) -> None:
    """Starts these parts and those that they need, or all. Returns when all are ready."""
    home.create()
    with home.locked():
        config = home.read_config()
        supervised = running_pid(home, "supervisor") is not None
        _set_external(home, config, supervised=supervised)
        targets = _with_servers(set(names) or set(NAMES)) & local_names(config)
        if supervised and all(row.healthy for row in await status(home) if row.part in targets):
            echo("Already up.")
            return
        with packages.installing():
            if missing := packages.missing(home, targets):
                packages.install(missing, echo)
        if not supervised:
            await _stop_orphans(home)
            home.write_wanted(set())
        targets |= await _assign_ports(home, config, echo, supervised=supervised)
        await _check_external(home, config)
        home.write_config(config)
        write_private(home.env, "".join(f"{name}='{value}'\n" for name, value in variables(home, config).items()))
        if "postgres" in targets:
            postgres.initialise(home, config)
        if "rabbitmq" in targets:
            rabbitmq.configure(home, config)
        if not supervised:
            await _start_supervisor(home)
        await _start(home, config, targets - set(SERVICES), echo)
        if services := targets & set(SERVICES):
            steps.migrate(home, config, echo)
            steps.declare_topology(home, config, echo)
            await _start(home, config, services, echo)
        if "gateway" in targets:
            steps.ensure_api_key(home, config, echo)


async def down(home: Home, names: Iterable[str], echo: Echo) -> None:
    """Stops these parts, or all. They stay stopped until the next `up`; data is kept."""
    if not home.exists():
        echo("Nothing is running.")
        return
    with home.locked():
        targets = set(names) or set(NAMES)
        if external := targets - local_names(home.read_config()) if names else set():
            raise StackError(
                f"{', '.join(sorted(external))}: not part of the local stack, so it cannot be stopped here."
            )
        alive = {name for name in targets if running_pid(home, name) is not None}
        supervisor = running_pid(home, "supervisor")
        home.write_wanted(home.read_wanted() - targets)
        if supervisor is None:
            await _stop_orphans(home)
        else:
            send_signal(supervisor, signal.SIGHUP if names else signal.SIGTERM)
        await asyncio.gather(*(_wait_stopped(home, name, echo) for name in NAMES if name in alive))
        if not names and not await wait_gone(home, "supervisor", STOP_SECONDS):
            raise StackError(f"The supervisor (process {supervisor}) does not stop; see {home.log('supervisor')}.")
        if not alive:
            echo("Nothing was running.")


async def status(home: Home) -> list[Status]:
    """Probes all parts and returns their status."""
    if not home.exists():
        return [Status(name, "stopped", None, None, "") for name in NAMES]
    parts = build_parts(home, home.read_config()).values()
    healthy = await asyncio.gather(*(part.probe() for part in parts))
    wanted = home.read_wanted() if running_pid(home, "supervisor") is not None else set()
    return [_status(home, part, wanted, healthy=each) for part, each in zip(parts, healthy, strict=True)]


def _status(home: Home, part: Part, wanted: set[str], *, healthy: bool) -> Status:
    if part.external:
        return Status(part.name, "elsewhere" if healthy else "unreachable", None, None, part.address)
    pid = running_pid(home, part.name)
    if pid is None:
        return Status(part.name, "restarting" if part.name in wanted else "stopped", None, None, part.address)
    return Status(part.name, "ready" if healthy else "not ready", pid, uptime(pid), part.address)


def _set_external(home: Home, config: StackConfig, *, supervised: bool) -> None:
    urls = external_urls(home, config, dict(os.environ))
    if not supervised:
        config.external = urls
    elif changed := [name for name, url in urls.items() if config.external.get(name) != url]:
        names = " and ".join(changed)
        raise StackError(f"The stack is running with a different {names}: run `millrace down` first, or unset it.")


async def _check_external(home: Home, config: StackConfig) -> None:
    for part in build_parts(home, config).values():
        if part.external and not await part.probe():
            raise StackError(f"{part.name} does not answer at {part.address}; check {packages.VARIABLES[part.name]}.")


def _with_servers(names: set[str]) -> set[str]:
    if names & set(SERVICES):
        return names | set(SERVERS)
    return names | ({"epmd"} if "rabbitmq" in names else set())


async def _assign_ports(home: Home, config: StackConfig, echo: Echo, *, supervised: bool) -> set[str]:
    """Gives free ports to every part that is not running. Returns the services that must restart because of that."""
    server_moved = False
    for name in NAMES:
        if name not in local_names(config) or running_pid(home, name) is not None:
            continue
        for port in port_names(name):
            kept = config.ports.get(port)
            # A running supervisor holds the claims of the `up` that started it.
            if kept is not None and (ports.is_free(kept) if supervised else ports.claim(kept)):
                continue
            config.ports[port] = ports.choose(port, config.identity, config.ports.values())
            server_moved |= kept is not None and name in SERVERS
            if kept is not None or (port == "gateway" and config.ports[port] != ports.GATEWAY):
                echo(f"{name:10} port {kept or ports.GATEWAY} is taken; using {config.ports[port]}")
    services = {name for name in SERVICES if running_pid(home, name) is not None} if server_moved else set()
    if services and (supervisor := running_pid(home, "supervisor")) is not None:
        home.write_wanted(home.read_wanted() - services)
        send_signal(supervisor, signal.SIGHUP)
        await asyncio.gather(*(wait_gone(home, name, STOP_SECONDS) for name in services))
    return services


def _launch_supervisor(home: Home) -> subprocess.Popen[bytes]:
    with home.log("supervisor").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "deploy.local.supervisor"],
            cwd=REPOSITORY,
            env={**os.environ, **mark(home, "supervisor")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=ports.claims,  # keeps the ports reserved while a part restarts
        )


async def _start_supervisor(home: Home) -> None:
    supervisor = _launch_supervisor(home)

    async def started() -> bool:
        if supervisor.poll() is not None:
            raise _not_ready(home, "supervisor")
        return running_pid(home, "supervisor") == supervisor.pid

    if not await until(started, READY_SECONDS):
        raise _not_ready(home, "supervisor")


async def _start(home: Home, config: StackConfig, names: set[str], echo: Echo) -> None:
    home.write_wanted(home.read_wanted() | names)
    if (supervisor := running_pid(home, "supervisor")) is not None:
        send_signal(supervisor, signal.SIGHUP)
    parts = build_parts(home, config)
    pending = [row.part for row in await status(home) if row.part in names and not row.healthy]
    await asyncio.gather(*(_wait_ready(home, parts[name], echo) for name in pending))


async def _wait_ready(home: Home, part: Part, echo: Echo) -> None:
    began = time.monotonic()
    pids = set[int]()

    async def ready() -> bool:
        if (pid := running_pid(home, part.name)) is None:
            return False
        pids.add(pid)
        if len(pids) > MAX_STARTS:
            raise _not_ready(home, part.name)
        return await part.probe()

    if not await until(ready, READY_SECONDS):
        raise _not_ready(home, part.name)
    echo(f"{part.name:10} ready ({time.monotonic() - began:.1f} s)")


def _not_ready(home: Home, name: str) -> StackError:
    lines = "\n".join(f"  {line.text}" for line in logs.last(home, [name], LOG_LINES_SHOWN))
    return StackError(f"{name} does not become ready. The end of {home.log(name)}:\n{lines}")


async def _wait_stopped(home: Home, name: str, echo: Echo) -> None:
    started = time.monotonic()
    if not await wait_gone(home, name, STOP_SECONDS):
        raise StackError(f"{name} does not stop; see {home.log('supervisor')}.")
    echo(f"{name:10} stopped ({time.monotonic() - started:.1f} s)")


async def _stop_orphans(home: Home) -> None:
    for group in STOP_ORDER:
        signals = {name: postgres.STOP if name == "postgres" else signal.SIGTERM for name in group}
        await asyncio.gather(*(stop_orphan(home, name, stop) for name, stop in signals.items()))
