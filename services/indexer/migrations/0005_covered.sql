-- The version of the dataset when the generation was planned: its pieces have all chunks up to it, also those that the
-- indexer had not indexed, or had given up.
ALTER TABLE indexes ADD COLUMN version bigint NOT NULL DEFAULT 0;
