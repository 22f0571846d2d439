-- The ingestor deletes before-images and ledger lines that analytics has finished with.
GRANT USAGE ON SCHEMA analytics TO ingestor;
GRANT SELECT ON chunks TO ingestor;
