-- Which chunks the rollups contain, by their number in the ingestor's ledger.
CREATE TABLE chunks (
    ledger     bigint      PRIMARY KEY,
    groups     bigint      NOT NULL,
    counted_at timestamptz NOT NULL DEFAULT now()
);
