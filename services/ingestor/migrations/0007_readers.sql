-- The version from which on search and rollups are declared without a break. What was built from an earlier version may lack
-- chunks: those that were loaded in between went to no reader, and kept no before-images.
ALTER TABLE datasets
    ADD COLUMN searched_since bigint NOT NULL DEFAULT 0,
    ADD COLUMN counted_since  bigint NOT NULL DEFAULT 0;
