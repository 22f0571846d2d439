"""dlt loads a CSV file of hires: `python -m bench.peers.hires_dlt DATABASE_URL FILE`, which prints the seconds it took.

The fastest way found through dlt's own features: Arrow tables in, Parquet through ADBC into Postgres, several files at
once. The same through CSV and COPY took longer.
"""

import os
import sys
import time
from collections.abc import Iterator
from tempfile import TemporaryDirectory
from typing import Any

COLUMNS = ("id", "name", "hired_at", "department_id", "job_id")


def main() -> None:
    """The time does not include Python's own start."""
    url, path, *more = sys.argv[1:]
    with TemporaryDirectory() as folder:
        # It is all read from the environment when dlt is imported.
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
    columns["id"] |= {"unique": True}  # a primary key is a remark to dlt; this makes the same index
    pipeline = dlt.pipeline("bench", destination="postgres", dataset_name="bench_dlt")
    pipeline.run(
        dlt.resource(hires, name="hires", columns=columns), loader_file_format=file_format, write_disposition="append"
    ).raise_on_failed_jobs()


if __name__ == "__main__":
    main()
