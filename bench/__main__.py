"""`make bench`, or `make bench only="load again"`: the measurements, on a stack of their own.

The results are printed as one table, and each measurement's are written into docs/performance.md.
"""

import os
import signal
import sys
from collections.abc import Callable

from bench import (
    accept,
    again,
    batch,
    counting,
    flat,
    found,
    load,
    memory,
    report,
    reports,
    search,
    searchable,
    shown,
    words,
)
from bench.report import Row
from bench.stack import Stack, running

# In this order: what leaves work behind comes last, and a table is measured with few rows before it has many.
MEASUREMENTS: dict[str, Callable[[Stack], list[Row]]] = {
    "load": load.measure,
    "again": again.measure,
    "flat": flat.measure,
    "batch": batch.measure,
    "searchable": searchable.measure,
    "search": search.measure,
    "found": found.measure,
    "words": words.measure,
    "counting": counting.measure,
    "reports": reports.measure,
    "shown": shown.measure,
    "memory": memory.measure,
    "accept": accept.measure,
}


def main() -> None:
    """The names of measurements are the arguments; none means all."""
    asked = set(sys.argv[1:]) or set(MEASUREMENTS)
    if unknown := asked - set(MEASUREMENTS):
        sys.exit(f"No measurement is called {', '.join(sorted(unknown))}; there are: {', '.join(MEASUREMENTS)}.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Told to stop."))  # and what was started ends with it
    print("Starting a stack to measure ...", flush=True)
    load_before = os.getloadavg()[0]
    table = []
    with running() as stack:
        facts = report.machine(stack, load_before)
        for name in (name for name in MEASUREMENTS if name in asked):
            print(f"Measuring: {name} ...", flush=True)
            rows = MEASUREMENTS[name](stack)
            print(report.render(rows), flush=True)
            report.publish(name, rows, facts)
            table += rows
    print(f"\n{report.render(table)}\n\n{facts}")


if __name__ == "__main__":
    main()
