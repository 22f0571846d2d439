"""The supervisor process: starts the wanted parts and restarts those that end. Started by `millrace up`."""

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

from deploy.local.part import Part, StackError, supervised_command
from deploy.local.parts import STOP_ORDER, build_parts
from deploy.local.probes import until
from deploy.local.processes import kill_group, mark, send_signal
from deploy.local.state import Home

BACKOFF, MAX_BACKOFF = 0.2, 5.0
STABLE_SECONDS = 10.0
LOG_LIMIT, LOG_CHECK_SECONDS = 20 * 2**20, 30.0
SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)


class Supervisor:
    """Keeps the wanted parts running. SIGHUP reads the wanted parts again, SIGTERM stops them all."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.changed = asyncio.Event()
        self.stopping = False

    async def run(self) -> None:
        """Runs until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self.changed.set)
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        trimmer = asyncio.create_task(self.trim_logs())
        while not self.stopping:
            self.changed.clear()
            wanted = self.home.read_wanted()
            await self.stop_parts(self.tasks.keys() - wanted)
            for name in wanted - self.tasks.keys():
                self.tasks[name] = asyncio.create_task(self.keep_running(name))
            await self.changed.wait()
        await self.stop_parts(self.tasks.keys())
        trimmer.cancel()

    def stop(self) -> None:
        """Makes `run` stop all parts and return."""
        self.stopping = True
        self.changed.set()

    async def keep_running(self, name: str) -> None:
        """Starts the part and restarts it with backoff whenever it ends. Cancellation stops the part."""
        backoff = BACKOFF
        while True:
            started = time.monotonic()
            try:
                log_line(f"{name} ended with {await self.run_part(name)}")
            except (OSError, StackError) as error:
                log_line(f"{name} cannot start: {error}")
            if time.monotonic() - started > STABLE_SECONDS:
                backoff = BACKOFF
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, MAX_BACKOFF)

    async def run_part(self, name: str) -> int:
        """Starts the part, waits for its end and returns its exit code."""
        # Read each time: `up` may have changed the part's port.
        parts = build_parts(self.home, self.home.read_config())
        part = parts[name]
        for dependency in part.after:
            await until(parts[dependency].probe)
        with self.home.log(name).open("ab") as log:
            log.write(f"{timestamp()} [supervisor] starting {name}\n".encode())
            log.flush()
            process = await asyncio.create_subprocess_exec(
                *supervised_command(part),
                env={**part.env, **mark(self.home, name)},
                cwd=part.folder,
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
                process_group=0,
            )
        pid_file = self.home.pid(name)
        pid_file.write_text(f"{process.pid}\n")
        log_line(f"{name} started as {process.pid}")
        try:
            return await process.wait()
        except asyncio.CancelledError:
            await stop_process(process, part)
            raise
        finally:
            kill_group(process.pid)
            pid_file.unlink(missing_ok=True)

    async def stop_parts(self, names: Iterable[str]) -> None:
        """Stops these parts, in stop order."""
        stopping = set(names)
        for group in STOP_ORDER:
            tasks = [self.tasks.pop(name) for name in sorted(group & stopping)]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def trim_logs(self) -> None:
        """Copies every log above the limit to `.log.1` and truncates it."""
        while True:
            for log in self.home.logs.glob("*.log"):
                if log.stat().st_size > LOG_LIMIT:
                    # Not renamed: the parts keep the file open for appending.
                    shutil.copyfile(log, log.with_suffix(".log.1"))
                    os.truncate(log, 0)
            await asyncio.sleep(LOG_CHECK_SECONDS)


async def stop_process(process: Process, part: Part) -> None:
    """Sends the part's stop signal, and SIGKILL if it does not end in time."""
    send_signal(process.pid, part.stop)
    try:
        async with asyncio.timeout(part.grace):
            await process.wait()
        log_line(f"{part.name} stopped")
    except TimeoutError:
        log_line(f"{part.name} did not stop within {part.grace:.0f} s and was killed")
        send_signal(process.pid, signal.SIGKILL)
        await process.wait()


def timestamp() -> str:
    """Returns the current time in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def log_line(text: str) -> None:
    """Writes a line to the supervisor's log."""
    sys.stdout.write(f"{timestamp()} {text}\n")
    sys.stdout.flush()


def main() -> int:
    """Runs the supervisor unless another one already runs for this stack."""
    home = Home.here()
    with home.pid("supervisor").open("a+") as pid_file:
        try:
            fcntl.flock(pid_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log_line("another supervisor already runs for this stack")
            return 1
        # `up` signals as soon as it reads the pid; a signal that comes before its handler would end this process.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        pid_file.truncate(0)
        pid_file.write(f"{os.getpid()}\n")
        pid_file.flush()
        asyncio.run(Supervisor(home).run())
        pid_file.truncate(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
