"""`make bench`, or `make bench only="load again"`: runs the measurements on a temporary stack.

Prints one table, and writes the results of each measurement into docs/performance.md.
"""

import os
import signal
import sys
from collections.abc import Callable

from bench import (
    accept,
    batch,
    file_sizes,
    finished,
    indexing,
    load,
    memory,
    old_jobs,
    reimport,
    reports,
    results,
    rollups,
    search,
    time_to_report,
    time_to_search,
    words,
)
from bench.results import Row
from bench.stack import Stack, running

# In run order: small tables before large ones, and measurements that leave work behind last.
MEASUREMENTS: dict[str, Callable[[Stack], list[Row]]] = {
    "load": load.measure,
    "again": reimport.measure,
    "flat": file_sizes.measure,
    "batch": batch.measure,
    "searchable": indexing.measure,
    "search": search.measure,
    "found": time_to_search.measure,
    "words": words.measure,
    "counting": rollups.measure,
    "reports": reports.measure,
    "shown": time_to_report.measure,
    "memory": memory.measure,
    "accept": accept.measure,
    "finished": finished.measure,
    "old": old_jobs.measure,
}


def main() -> None:
    """Runs the measurements named by the arguments, or all."""
    names = set(sys.argv[1:]) or set(MEASUREMENTS)
    if unknown := names - set(MEASUREMENTS):
        sys.exit(f"Unknown measurement: {', '.join(sorted(unknown))}. Choose from {', '.join(MEASUREMENTS)}.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped by SIGTERM."))  # also stops the stack
    print("Starting a stack ...", flush=True)
    load_before = os.getloadavg()[0]
    table = []
    with running() as stack:
        machine = results.describe_machine(stack, load_before)
        for name in (name for name in MEASUREMENTS if name in names):
            print(f"Measuring: {name} ...", flush=True)
            rows = MEASUREMENTS[name](stack)
            print(results.render(rows), flush=True)
            results.publish(name, rows, machine)
            table += rows
    print(f"\n{results.render(table)}\n\n{machine}")


if __name__ == "__main__":
    main()
