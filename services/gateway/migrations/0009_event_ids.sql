-- An event gets its id after its commit, in a statement of its own: a process that is paused in a transaction must not
-- hold the lock that all ids need.
ALTER TABLE events
    DROP CONSTRAINT events_pkey,
    ALTER COLUMN id DROP NOT NULL;
CREATE UNIQUE INDEX events_id ON events (id);
CREATE INDEX events_without_id ON events (time, job_id, sequence) WHERE id IS NULL;
