-- Kinds of job are declared in code, each by its feature. `target` names what a job works on exclusively.
ALTER TABLE jobs DROP CONSTRAINT jobs_kind_check;
DROP INDEX jobs_one_sync;
UPDATE jobs SET target = source WHERE source IS NOT NULL AND finished_at IS NULL AND NOT beside;
ALTER TABLE jobs DROP COLUMN beside;
ALTER TABLE jobs RENAME COLUMN told_at TO announced_at;
