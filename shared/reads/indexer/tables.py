"""Names of the indexer's tables, for statements that join them with tables of the reader."""

INDEXED_CHUNKS = "indexer.chunks"
"""Marks of the chunks that are indexed: `ledger` is the chunk's number in the ingestor's ledger."""
INDEXES = "indexer.indexes"
"""Generations: `dataset, generation, state`; `state` is serving or building."""
