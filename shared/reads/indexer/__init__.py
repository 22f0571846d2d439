"""The published tables of the indexer: indexes with their documents and words, results of searches, definitions."""
