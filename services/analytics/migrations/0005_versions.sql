-- The version of the dataset from which a rollup was built.
ALTER TABLE rollups ADD COLUMN version bigint NOT NULL DEFAULT 0;
