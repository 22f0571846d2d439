-- Jobs that are being stopped, and why: a row stays only until its job has ended. Every consumer polls it.
CREATE TABLE cancellations (
    job_id       uuid        PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
    reason       text        NOT NULL CHECK (reason IN ('requested', 'deadline')),
    requested_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE jobs
    ADD COLUMN run         integer     NOT NULL DEFAULT 1, -- a retry starts the next one
    ADD COLUMN deadline_at timestamptz NOT NULL DEFAULT now() + interval '1 day',
    DROP CONSTRAINT jobs_status_check,
    DROP CONSTRAINT jobs_check,
    ADD CONSTRAINT jobs_status_check
        CHECK (status IN ('queued', 'running', 'succeeded', 'partial', 'failed', 'canceled')),
    ADD CONSTRAINT jobs_finished_check
        CHECK ((finished_at IS NOT NULL) = (status IN ('succeeded', 'partial', 'failed', 'canceled')));
ALTER TABLE jobs ALTER COLUMN deadline_at DROP DEFAULT;
DROP INDEX jobs_unfinished;
CREATE INDEX jobs_deadline ON jobs (deadline_at) WHERE finished_at IS NULL;

ALTER TABLE events ADD COLUMN run integer NOT NULL DEFAULT 1;
DROP INDEX events_one_end;
CREATE UNIQUE INDEX events_one_end ON events (job_id, run)
    WHERE type IN ('job.succeeded', 'job.partial', 'job.failed', 'job.canceled');
