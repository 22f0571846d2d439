"""The published tables of the ingestor: declarations, the chunk ledger, rows of datasets, failed rows, sources."""
