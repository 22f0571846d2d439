ALTER TABLE jobs
    DROP CONSTRAINT jobs_kind_check,
    ADD CHECK (kind IN ('import', 'rows', 'sync', 'replay', 'search')),
    ALTER COLUMN mode DROP DEFAULT,
    ALTER COLUMN mode DROP NOT NULL, -- a search has none
    ADD COLUMN version bigint;       -- of the dataset, after what was loaded or when it was searched

ALTER TABLE chunks
    ADD COLUMN version bigint;
