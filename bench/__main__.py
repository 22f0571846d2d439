r"""`make bench`: a large import, beside `psql \copy` into an equal table of the same server.

The import checks every value, keeps the bad rows, makes documents and adds up rollups; `\copy` does none of that and
can't take a file with bad rows, so it gets the clean one. Needs the stack to be up; its rows stay in hired_employees.
"""

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import polars as pl

from deploy.state import Home, assignments

ROWS = 2_000_000
BAD_EVERY = 200
PEER = """
DROP TABLE IF EXISTS public.peer;
CREATE TABLE public.peer (id bigint NOT NULL, name text NOT NULL, hired_at timestamptz NOT NULL,
                          department_id bigint NOT NULL, job_id bigint NOT NULL, PRIMARY KEY (id, hired_at));
"""


def main() -> None:
    """Prints a table: seconds, and each as a ratio of the peer's."""
    home = Home.here()
    if not home.env.exists():
        sys.exit("The stack is not up: run `make up` first.")
    env = assignments(home.env.read_text())
    with TemporaryDirectory() as folder:
        clean, mixed = Path(folder, "clean.csv"), Path(folder, "mixed.csv")
        _write(clean, mixed)
        peer = _copy(env["DATABASE_URL"], clean)
        loaded, done = _import(env, home.api_key.read_text().strip(), mixed)
    print(f"{ROWS:,} rows, {100 / BAD_EVERY} % bad\n")
    for what, seconds in (
        ("psql \\copy, clean file", peer),
        ("millrace, rows loaded", loaded),
        ("millrace, job done", done),
    ):
        print(f"{what:28}{seconds:8.1f} s{seconds / peer:8.2f}")


def _write(clean: Path, mixed: Path) -> None:
    first = time.time_ns() // 1_000  # no row of an earlier run is met again
    row = pl.int_range(0, ROWS, eager=True).alias("row").to_frame()
    moment = pl.datetime(2050, 1, 1) + pl.duration(seconds=pl.col("row") * 15)
    columns = row.select(
        (pl.col("row") + first).alias("id"),
        pl.format("Person {}", pl.col("row")).alias("name"),
        moment.dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias("hired_at"),
        (pl.col("row") % 12 + 1).alias("department_id"),
        (pl.col("row") % 183 + 1).alias("job_id"),
    )
    columns.write_csv(clean, include_header=False)
    bad = pl.int_range(0, pl.len()) % BAD_EVERY == 0
    columns.with_columns(job_id=pl.when(~bad).then("job_id")).write_csv(mixed, include_header=False)


def _copy(url: str, path: Path) -> float:
    psql = ["psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", url, "--command"]
    subprocess.run([*psql, PEER], check=True, stderr=subprocess.DEVNULL)
    began = time.monotonic()
    subprocess.run([*psql, f"\\copy public.peer FROM '{path}' (FORMAT csv)"], check=True)
    seconds = time.monotonic() - began
    subprocess.run([*psql, "DROP TABLE public.peer"], check=True)
    return seconds


def _import(env: dict[str, str], key: str, path: Path) -> tuple[float, float]:
    """Seconds from the start of the upload to the last row loaded, and to the end of the job."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "text/csv"}
    with httpx.Client(base_url=env["GATEWAY_URL"], headers=headers, timeout=120) as client, path.open("rb") as file:
        began = time.monotonic()
        job = client.post("/v1/datasets/hired_employees/imports", content=file).raise_for_status().json()
        loaded = 0.0
        while not job["finished_at"]:
            time.sleep(0.05)
            job = client.get(job["links"]["self"]).raise_for_status().json()
            if not loaded and job["phase"] in ("index", "done"):
                loaded = time.monotonic() - began
        assert job["outcome"]["inserted"] == ROWS - ROWS // BAD_EVERY, job
        return loaded, time.monotonic() - began


if __name__ == "__main__":
    main()
