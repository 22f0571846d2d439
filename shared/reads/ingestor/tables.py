"""Names of the ingestor's tables, for statements that join them with tables of the reader."""

DATASETS = "ingestor.datasets"
"""Declared datasets: `name, declaration, revision, version, declared_at`; `declaration` is JSON.

`searched_since` and `counted_since` are the versions from which on search and rollups are declared without a break.
"""
CHUNKS = "ingestor.chunks"
"""The chunk ledger: `ledger, job_id, dataset, chunk, version, sent_at, loaded_at`, and the counts of an Outcome.

Chunks that are not loaded have no `version` and no `loaded_at`.
"""
IMPORTS = "ingestor.imports"
"""The jobs that load chunks: `job_id, dataset, chunks, stopped`; `stopped` is the Problem that ended the job."""
DATA_SCHEMA = "data"
"""The schema with a table for each dataset, and for each attached year of a partitioned one."""
DETACHED_SCHEMA = "detached"
"""The schema with the tables of detached years."""


def data_table(dataset: str) -> str:
    """Returns the quoted table of a dataset's rows. `_chunk` is the `ledger` of the chunk that wrote the row last."""
    return f'{DATA_SCHEMA}."{dataset}"'


def before_images(dataset: str, row: str) -> str:
    """Returns the FROM items `r` and `row`: rows that chunks replaced or deleted. Conditions must include `r.dataset`.

    `r.ledger` is the chunk that replaced the row, `r.was` the chunk that had written it.
    """
    return f"ingestor.replaced r, jsonb_populate_record(NULL::{data_table(dataset)}, r.row) {row}"
