ALTER TABLE jobs
    ADD COLUMN target text,  -- the report that is refreshed, the rollup that is built anew
    ADD COLUMN wanted jsonb, -- of a refresh: the versions of datasets that those who have asked for it want to see
    ADD COLUMN result jsonb; -- of a refresh or a rebuild that has succeeded
CREATE UNIQUE INDEX jobs_one_target ON jobs (kind, dataset, target) WHERE target IS NOT NULL AND finished_at IS NULL;
CREATE INDEX jobs_of_target ON jobs (kind, dataset, target, id) WHERE target IS NOT NULL;
