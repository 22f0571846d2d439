-- The chunks of a piece, by name: others between its `first` and `last` may be loaded or indexed after it was planned.
ALTER TABLE pieces ADD COLUMN ledgers bigint[] NOT NULL DEFAULT '{}';
ALTER TABLE pieces ALTER COLUMN ledgers DROP DEFAULT;
