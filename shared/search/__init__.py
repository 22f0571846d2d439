"""Search: what the gateway asks at once and the indexer as a job."""
