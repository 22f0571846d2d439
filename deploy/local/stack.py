"""The stack on this machine, up and down."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from deploy.local import logs, packages, ports, postgres, rabbitmq, steps
from deploy.local.addresses import SERVICES, moved, variables
from deploy.local.failure import StackFailure
from deploy.local.part import Part
from deploy.local.parts import NAMES, SERVERS, STOP_ORDER, local_names, parts, ports_of
from deploy.local.processes import clear, gone, mark, running, send, uptime
from deploy.local.state import REPOSITORY, Facts, Home, write_private

READY_WITHIN = 60.0
STOPPED_WITHIN = 90.0
TRIES = 5
SHOWN_LINES = 15

Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """A part as `millrace status` shows it."""

    part: str
    state: str
    pid: int | None
    uptime: float | None
    address: str

    @property
    def healthy(self) -> bool:
        return self.state in {"ready", "elsewhere"}


async def up(home: Home, names: Iterable[str], say: Say) -> None:
    """Start these parts, or all, and return when they are ready; what is ready already is left alone."""
    home.create()
    with home.locked():
        facts = home.facts()
        supervised = running(home, "supervisor") is not None
        _point_elsewhere(home, facts, supervised=supervised)
        targets = _with_servers(set(names) or set(NAMES)) & local_names(facts)
        if supervised and all(row.healthy for row in await status(home) if row.part in targets):
            say("Already up.")
            return
        with packages.installing():
            if lacking := packages.missing(home, targets):
                packages.install(lacking, say)
        if not supervised:
            await _clear_all(home)
            home.want(set())
        targets |= await _settle_ports(home, facts, say, supervised=supervised)
        await _reach_elsewhere(home, facts)
        home.keep(facts)
        write_private(home.env, "".join(f"{name}='{value}'\n" for name, value in variables(home, facts).items()))
        if "postgres" in targets:
            postgres.initialise(home, facts)
        if "rabbitmq" in targets:
            rabbitmq.configure(home, facts)
        if not supervised:
            await _start_supervisor(home)
        await _start(home, facts, targets - set(SERVICES), say)
        if services := targets & set(SERVICES):
            steps.migrate(home, facts, say)
            steps.declare_topology(home, facts, say)
            await _start(home, facts, services, say)
        if "gateway" in targets:
            steps.ensure_api_key(home, facts, say)


async def down(home: Home, names: Iterable[str], say: Say) -> None:
    """Stop these parts until they are wanted again, or everything; the state stays."""
    if not home.exists():
        say("Nothing is up.")
        return
    with home.locked():
        targets = set(names) or set(NAMES)
        if elsewhere := targets - local_names(home.facts()) if names else set():
            raise StackFailure(f"{', '.join(sorted(elsewhere))}: runs elsewhere and is not ours to stop.")
        alive = {name for name in targets if running(home, name) is not None}
        supervisor = running(home, "supervisor")
        home.want(home.wanted() - targets)
        if supervisor is None:
            await _clear_all(home)
        else:
            send(supervisor, signal.SIGHUP if names else signal.SIGTERM)
        await asyncio.gather(*(_stopped(home, name, say) for name in NAMES if name in alive))
        if not names and not await gone(home, "supervisor", STOPPED_WITHIN):
            raise StackFailure(f"The supervisor (process {supervisor}) does not end; see {home.log('supervisor')}.")
        if not alive:
            say("Nothing was up.")


async def status(home: Home) -> list[Row]:
    if not home.exists():
        return [Row(name, "stopped", None, None, "") for name in NAMES]
    known = parts(home, home.facts()).values()
    answers = await asyncio.gather(*(part.probe() for part in known))
    wanted = home.wanted() if running(home, "supervisor") is not None else set()
    return [_row(home, part, wanted, answers=answer) for part, answer in zip(known, answers, strict=True)]


def _row(home: Home, part: Part, wanted: set[str], *, answers: bool) -> Row:
    if part.elsewhere:
        return Row(part.name, "elsewhere" if answers else "unreachable", None, None, part.address)
    pid = running(home, part.name)
    if pid is None:
        return Row(part.name, "restarting" if part.name in wanted else "stopped", None, None, part.address)
    return Row(part.name, "ready" if answers else "not ready", pid, uptime(pid), part.address)


def _point_elsewhere(home: Home, facts: Facts, *, supervised: bool) -> None:
    asked = moved(home, facts, dict(os.environ))
    if not supervised:
        facts.elsewhere = asked
    elif others := [name for name, url in asked.items() if facts.elsewhere.get(name) != url]:
        raise StackFailure(f"The stack is up with another {' and '.join(others)}: `millrace down` first, or unset it.")


async def _reach_elsewhere(home: Home, facts: Facts) -> None:
    for part in parts(home, facts).values():
        if part.elsewhere and not await part.probe():
            raise StackFailure(
                f"Nothing answers at {part.address}, where {packages.VARIABLES[part.name]} says {part.name} is."
            )


def _with_servers(names: set[str]) -> set[str]:
    if names & set(SERVICES):
        return names | set(SERVERS)
    return names | ({"epmd"} if "rabbitmq" in names else set())


async def _settle_ports(home: Home, facts: Facts, say: Say, *, supervised: bool) -> set[str]:
    """Give every part that is not running ports that are free; return the services that must start again for it."""
    moved_servers = False
    for name in NAMES:
        if name not in local_names(facts) or running(home, name) is not None:
            continue
        for port in ports_of(name):
            kept = facts.ports.get(port)
            # A running supervisor holds the claims of the `up` that started it.
            if kept is not None and (ports.is_free(kept) if supervised else ports.claim(kept)):
                continue
            facts.ports[port] = ports.choose(port, facts.identity, facts.ports.values())
            moved_servers |= kept is not None and name in SERVERS
            if kept is not None or (port == "gateway" and facts.ports[port] != ports.GATEWAY):
                say(f"{name:10} port {kept or ports.GATEWAY} is taken; using {facts.ports[port]}")
    services = {name for name in SERVICES if running(home, name) is not None} if moved_servers else set()
    if services and (supervisor := running(home, "supervisor")) is not None:
        home.want(home.wanted() - services)
        send(supervisor, signal.SIGHUP)
        await asyncio.gather(*(gone(home, name, STOPPED_WITHIN) for name in services))
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
            pass_fds=ports.claims,  # no other stack takes a port while the part that has it starts again
        )


async def _start_supervisor(home: Home) -> None:
    supervisor = _launch_supervisor(home)
    deadline = time.monotonic() + READY_WITHIN
    while running(home, "supervisor") != supervisor.pid:
        if supervisor.poll() is not None or time.monotonic() > deadline:
            raise _not_ready(home, "supervisor")
        await asyncio.sleep(0.02)


async def _start(home: Home, facts: Facts, names: set[str], say: Say) -> None:
    home.want(home.wanted() | names)
    if (supervisor := running(home, "supervisor")) is not None:
        send(supervisor, signal.SIGHUP)
    known = parts(home, facts)
    pending = [row.part for row in await status(home) if row.part in names and not row.healthy]
    await asyncio.gather(*(_ready(home, known[name], say) for name in pending))


async def _ready(home: Home, part: Part, say: Say) -> None:
    started = time.monotonic()
    lives = set[int]()
    while time.monotonic() < started + READY_WITHIN and len(lives) <= TRIES:
        if (pid := running(home, part.name)) is not None:
            lives.add(pid)
            if await part.probe():
                say(f"{part.name:10} ready ({time.monotonic() - started:.1f} s)")
                return
        await asyncio.sleep(0.05)
    raise _not_ready(home, part.name)


def _not_ready(home: Home, name: str) -> StackFailure:
    tail = "\n".join(f"  {line}" for line in logs.tail(home, name, SHOWN_LINES))
    return StackFailure(f"{name} does not get ready. The end of {home.log(name)}:\n{tail}")


async def _stopped(home: Home, name: str, say: Say) -> None:
    started = time.monotonic()
    if not await gone(home, name, STOPPED_WITHIN):
        raise StackFailure(f"{name} does not stop; see {home.log('supervisor')}.")
    say(f"{name:10} stopped ({time.monotonic() - started:.1f} s)")


async def _clear_all(home: Home) -> None:
    for tier in STOP_ORDER:
        signals = {name: postgres.STOP if name == "postgres" else signal.SIGTERM for name in tier}
        await asyncio.gather(*(clear(home, name, stop) for name, stop in signals.items()))
