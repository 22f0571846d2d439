"""Loads a CSV file of hires with dlt: `python -m bench.peers.hires_dlt DATABASE_URL FILE` prints the seconds.

Uses the fastest way that dlt has: Arrow tables, Parquet files, ADBC, several files in parallel. CSV and COPY are
slower.
"""

import os
import sys
import time
from collections.abc import Iterator
from tempfile import TemporaryDirectory
from typing import Any

COLUMNS = ("id", "name", "hired_at", "department_id", "job_id")


def main() -> None:
    """Measures without the start of Python."""
    url, path, *more = sys.argv[1:]
    with TemporaryDirectory() as folder:
        # dlt reads its configuration when it is imported.
        os.environ |= {
            "DLT_DATA_DIR": folder,
            "DESTINATION__POSTGRES__CREDENTIALS": url,
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "RUNTIME__LOG_LEVEL": "ERROR",
            "DATA_WRITER__FILE_MAX_ITEMS": "500000",
        }
        began = time.perf_counter()
        _load(path, *more)
        print(time.perf_counter() - began)


def _load(path: str, file_format: str = "parquet") -> None:
    import dlt  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.csv  # noqa: PLC0415

    types = {name: pa.int64() for name in COLUMNS}
    types |= {"name": pa.string(), "hired_at": pa.timestamp("us", tz="UTC")}

    def hires() -> Iterator[Any]:
        reading = pa.csv.ReadOptions(column_names=list(COLUMNS), block_size=16 << 20)
        for batch in pa.csv.open_csv(path, reading, convert_options=pa.csv.ConvertOptions(column_types=types)):
            yield pa.Table.from_batches([batch])

    columns = {name: {"nullable": False} for name in COLUMNS}
    columns["id"] |= {"unique": True}  # dlt creates no index for a primary key; this creates the same one
    pipeline = dlt.pipeline("bench", destination="postgres", dataset_name="bench_dlt")
    pipeline.run(
        dlt.resource(hires, name="hires", columns=columns), loader_file_format=file_format, write_disposition="append"
    ).raise_on_failed_jobs()


if __name__ == "__main__":
    main()
