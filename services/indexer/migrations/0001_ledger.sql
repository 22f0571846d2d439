-- Which chunks are searchable, by their number in the ingestor's ledger.
CREATE TABLE chunks (
    ledger     bigint      PRIMARY KEY,
    documents  bigint      NOT NULL,
    done_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX chunks_done ON chunks (done_at);
