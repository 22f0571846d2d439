-- The ingestor deletes before-images and ledger lines that the indexer has finished with.
GRANT USAGE ON SCHEMA indexer TO ingestor;
GRANT SELECT ON chunks, indexes TO ingestor;
CREATE INDEX definitions_expire ON definitions (expires_at);
