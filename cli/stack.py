"""The commands that concern the stack on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Coroutine
from typing import TypeVar

import click

from cli import reporting
from cli.answers import Reports
from cli.gateway import Gateway, route
from deploy.local import logs, stack
from deploy.local.addresses import SERVICES, service_url
from deploy.local.failure import StackFailure
from deploy.local.parts import NAMES
from deploy.local.state import Home

LOGS = (*NAMES, "supervisor", "migrate", "topology")
T = TypeVar("T")
parts_argument = click.argument("parts", nargs=-1, type=click.Choice(NAMES), metavar="[PART]...")


@click.command()
@parts_argument
def up(parts: tuple[str, ...]) -> None:
    """Start all, or some parts.

    It returns when they are ready, with what they need; what is ready already is left alone.
    """
    home = Home.here()
    _run(stack.up(home, parts, click.echo))
    if parts:
        return
    url = service_url(home.facts(), "gateway")
    click.echo(f"\nMillrace is up at {url}  (documentation: {url}/docs)")
    click.echo(f"API key in {home.api_key}; addresses in {home.env}; logs in {home.logs}")
    with contextlib.suppress(click.ClickException), Gateway.find() as gateway:
        for one in gateway.read(Reports, route("reports")).data:
            if one.state == "broken":
                reporting.warn(one)


@click.command()
@parts_argument
def down(parts: tuple[str, ...]) -> None:
    """Stop all, or some parts.

    They stay down until the next `millrace up`; nothing is lost.
    """
    _run(stack.down(Home.here(), parts, click.echo))


@click.command()
def status() -> None:
    """Show what runs, and where.

    Exit code 0 if all is healthy, 1 if not.
    """
    rows = _run(stack.status(Home.here()))
    width = max(len(row.state) for row in rows)
    click.echo(f"{'PART':10} {'STATE':{width}} {'PID':>8} {'UPTIME':>9}  ADDRESS")
    for row in rows:
        state = click.style(f"{row.state:{width}}", fg="green" if row.healthy else "red")
        click.echo(f"{row.part:10} {state} {row.pid or '-':>8} {_duration(row.uptime):>9}  {row.address or '-'}")
    if not all(row.healthy for row in rows):
        sys.exit(1)


@click.command(name="logs")
@click.argument("parts", nargs=-1, type=click.Choice(LOGS), metavar="[PART]...")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@click.option("-n", "--lines", default=50, show_default=True, type=click.IntRange(min=0), help="How many lines.")
def show_logs(parts: tuple[str, ...], lines: int, *, follow: bool) -> None:
    """Show the parts' logs as one.

    By default those of the four services.
    """
    home = Home.here()
    names = parts or SERVICES
    for line in logs.last(home, names, lines):
        click.echo(line)
    if follow:
        with contextlib.suppress(KeyboardInterrupt):
            for line in logs.follow(home, names):
                click.echo(line)


def _run(work: Coroutine[object, object, T]) -> T:
    try:
        return asyncio.run(work)
    except StackFailure as failure:
        raise click.ClickException(str(failure)) from None


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


COMMANDS: list[click.Command] = [up, down, status, show_logs]
