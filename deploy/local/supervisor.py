"""The process that keeps the wanted parts alive: `python -m deploy.local.supervisor`, started by `millrace up`."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Iterable
from datetime import UTC, datetime

from deploy.local import probes
from deploy.local.failure import StackFailure
from deploy.local.part import Part, tethered
from deploy.local.parts import STOP_ORDER, parts
from deploy.local.processes import mark, reap_group, send
from deploy.local.state import Home

PAUSE, LONGEST_PAUSE = 0.2, 5.0
HEALTHY_AFTER = 10.0
LOG_LIMIT, LOG_CHECK = 20 * 2**20, 30.0


class Supervisor:
    def __init__(self, home: Home) -> None:
        self.home = home
        self.keepers: dict[str, asyncio.Task[None]] = {}
        self.told = asyncio.Event()
        self.leaving = False

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self.told.set)
        loop.add_signal_handler(signal.SIGTERM, self.leave)
        loop.add_signal_handler(signal.SIGINT, self.leave)
        trimmer = asyncio.create_task(self.trim_logs())
        while not self.leaving:
            self.told.clear()
            wanted = self.home.wanted()
            await self.release(self.keepers.keys() - wanted)
            for name in wanted - self.keepers.keys():
                self.keepers[name] = asyncio.create_task(self.keep(name))
            await self.told.wait()
        await self.release(self.keepers.keys())
        trimmer.cancel()

    def leave(self) -> None:
        self.leaving = True
        self.told.set()

    async def keep(self, name: str) -> None:
        """Start the part, wait for its end, start it again; until cancelled, which stops it."""
        pause = PAUSE
        while True:
            started = time.monotonic()
            try:
                say(f"{name} ended with {await self.live(name)}")
            except (OSError, StackFailure) as failure:
                say(f"{name} cannot start: {failure}")
            if time.monotonic() - started > HEALTHY_AFTER:
                pause = PAUSE
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def live(self, name: str) -> int:
        """One life of the part, from its start to its end."""
        # Read afresh, because `up` may have given the part another port meanwhile.
        known = parts(self.home, self.home.facts())
        part = known[name]
        for earlier in part.after:
            await probes.until(known[earlier].probe)
        with self.home.log(name).open("ab") as log:
            log.write(f"{stamp()} [supervisor] starting {name}\n".encode())
            log.flush()
            process = await asyncio.create_subprocess_exec(
                *tethered(part),
                env={**part.env, **mark(self.home, name)},
                cwd=part.folder,
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
                process_group=0,
            )
        pid_file = self.home.pid(name)
        pid_file.write_text(f"{process.pid}\n")
        say(f"{name} started as {process.pid}")
        try:
            return await process.wait()
        except asyncio.CancelledError:
            await stop(process, part)
            raise
        finally:
            reap_group(process.pid)
            pid_file.unlink(missing_ok=True)

    async def release(self, names: Iterable[str]) -> None:
        leaving = set(names)
        for tier in STOP_ORDER:
            keepers = [self.keepers.pop(name) for name in sorted(tier & leaving)]
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)

    async def trim_logs(self) -> None:
        while True:
            for log in self.home.logs.glob("*.log"):
                if log.stat().st_size > LOG_LIMIT:
                    # Copied and emptied, not renamed: the writers hold the file open, to append.
                    shutil.copyfile(log, log.with_suffix(".log.1"))
                    os.truncate(log, 0)
            await asyncio.sleep(LOG_CHECK)


async def stop(process: Process, part: Part) -> None:
    send(process.pid, part.stop)
    try:
        async with asyncio.timeout(part.grace):
            await process.wait()
        say(f"{part.name} stopped")
    except TimeoutError:
        say(f"{part.name} did not stop within {part.grace:.0f} s and was killed")
        send(process.pid, signal.SIGKILL)
        await process.wait()


def stamp() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def say(what: str) -> None:
    sys.stdout.write(f"{stamp()} {what}\n")
    sys.stdout.flush()


def main() -> int:
    home = Home.here()
    with home.pid("supervisor").open("a+") as own:
        try:
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another supervisor keeps this stack already")
            return 1
        own.truncate(0)
        own.write(f"{os.getpid()}\n")
        own.flush()
        asyncio.run(Supervisor(home).run())
        own.truncate(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
