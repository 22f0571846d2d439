"""Importing an unchanged file again, compared with a staging table and `INSERT … ON CONFLICT DO UPDATE`."""

from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench import hires, jobs, psql
from bench.results import Row, at_most
from bench.stack import Stack

RUNS = 3
LIMIT = 0.5
DATASET = "bench_again"
UPSERT = """
INSERT INTO public.peer SELECT * FROM staging
ON CONFLICT (id) DO UPDATE SET name = excluded.name, hired_at = excluded.hired_at,
    department_id = excluded.department_id, job_id = excluded.job_id
"""


def measure(stack: Stack) -> list[Row]:
    """Medians of three alternating runs; the first load of either side is not measured."""
    with TemporaryDirectory() as folder, jobs.client(stack) as http:
        clean, mixed = Path(folder, "clean.csv"), Path(folder, "mixed.csv")
        hires.write(clean, hires.ROWS, bad=False)
        hires.write(mixed, hires.ROWS, bad=True)
        jobs.declare(http, DATASET)
        jobs.load_file(stack, http, DATASET, mixed)
        psql.create(stack)
        psql.run(stack, psql.copy(clean))
        loads, upserts = [], []
        for _ in range(RUNS):
            psql.settle(stack)
            loads.append(jobs.load_file(stack, http, DATASET, mixed))
            psql.run(stack, "VACUUM public.peer", "CHECKPOINT")  # so that the peer is not slowed by dead rows
            staging = "CREATE TEMPORARY TABLE staging (LIKE public.peer)"
            upserts.append(psql.seconds(stack, staging, psql.copy(clean, "staging"), UPSERT))
        psql.run(stack, "DROP TABLE public.peer")
        psql.drop(stack, DATASET)
    for load in loads:
        assert load.outcome["unchanged"] == hires.ROWS - hires.count_bad(hires.ROWS), load
    peer, loaded = median(upserts), median(load.loaded for load in loads)
    return [
        Row(f"again, {hires.ROWS:,} unchanged rows: staging + INSERT … ON CONFLICT", f"{peer:.2f} s", 1.0),
        Row("again: Millrace, last chunk loaded", f"{loaded:.2f} s", loaded / peer, at_most(loaded / peer, LIMIT)),
    ]
