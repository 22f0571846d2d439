"""Worker processes of one service: all listen on its port, and the kernel spreads the connections over them.

The parent serves nothing. It starts the workers, restarts one that has ended, and stops them when it is stopped. Each
worker is a replica like any other, except for metrics: workers keep theirs in files of one folder, so that a scrape
of any worker returns the sum over all.
"""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile

import structlog

from shared.telemetry.operations import METRICS_DIRECTORY

WORKER = "MILLRACE_WORKER"
RESTART_SECONDS = 1.0
log = structlog.get_logger()


def is_worker() -> bool:
    """Returns whether this process is one of several."""
    return WORKER in os.environ


async def run_workers(count: int, exit_seconds: float) -> None:
    """Runs this process' own command `count` times until SIGTERM or SIGINT; a worker then has `exit_seconds`."""
    stopping = asyncio.Event()
    for stop in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(stop, stopping.set)
    with tempfile.TemporaryDirectory(prefix="millrace-metrics-") as folder:
        async with asyncio.TaskGroup() as workers:
            for number in range(count):
                environment = {**os.environ, WORKER: str(number), METRICS_DIRECTORY: folder}
                workers.create_task(_keep_running(environment, stopping, exit_seconds))


async def _keep_running(environment: dict[str, str], stopping: asyncio.Event, exit_seconds: float) -> None:
    stopped = asyncio.create_task(stopping.wait())
    while not stopping.is_set():
        # A worker reads its standard input to notice the end of this process.
        worker = await asyncio.create_subprocess_exec(
            sys.executable, *sys.orig_argv[1:], env=environment, stdin=asyncio.subprocess.PIPE
        )
        ended = asyncio.create_task(worker.wait())
        await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            worker.terminate()
            await asyncio.wait([ended], timeout=exit_seconds + 1)
            if not ended.done():
                worker.kill()
            await ended
            return
        log.warning("worker ended", worker=environment[WORKER], code=worker.returncode)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), RESTART_SECONDS)
