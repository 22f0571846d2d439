"""`millrace up`, `down`, `status` and `logs`: the local stack."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Coroutine
from typing import TypeVar

import click

from cli.gateway import Gateway, route
from cli.reports import Report, print_errors
from cli.responses import Collection
from deploy.local import logs, stack
from deploy.local.addresses import SERVICES, service_url
from deploy.local.part import StackError
from deploy.local.parts import NAMES
from deploy.local.state import Home

LOGS = (*NAMES, "supervisor", "migrate", "topology")
T = TypeVar("T")
parts_argument = click.argument("parts", nargs=-1, type=click.Choice(NAMES), metavar="[PART]...")


@click.command()
@parts_argument
def up(parts: tuple[str, ...]) -> None:
    """Starts the local stack, or some parts of it.

    Also starts the parts that these need. Returns when all are ready. Parts that are ready are not restarted.
    """
    home = Home.here()
    _run(stack.up(home, parts, click.echo))
    if parts:
        return
    url = service_url(home.read_config(), "gateway")
    click.echo(f"\nMillrace is up at {url}  (documentation: {url}/docs)")
    click.echo(f"API key in {home.api_key}; addresses in {home.env}; logs in {home.logs}")
    with contextlib.suppress(click.ClickException), Gateway.find() as gateway:
        for report in gateway.read(Collection[Report], route("reports")).data:
            if report.state == "broken":
                print_errors(report)


@click.command()
@parts_argument
def down(parts: tuple[str, ...]) -> None:
    """Stops the local stack, or some parts of it.

    They stay stopped until the next `millrace up`. No data is lost.
    """
    _run(stack.down(Home.here(), parts, click.echo))


@click.command()
def status() -> None:
    """Shows the parts of the local stack with state, process ID and address.

    Exit codes: 0 if all parts are healthy, 1 if not.
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
@click.option("-f", "--follow", is_flag=True, help="Print new lines as they are written.")
@click.option("-n", "--lines", default=50, show_default=True, type=click.IntRange(min=0), help="Number of lines.")
def show_logs(parts: tuple[str, ...], lines: int, *, follow: bool) -> None:
    """Shows the logs of some parts, merged by time.

    Default: the four services.
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
    except StackError as error:
        raise click.ClickException(str(error)) from None


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


COMMANDS: list[click.Command] = [up, down, status, show_logs]
