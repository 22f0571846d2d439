ALTER TABLE jobs
    DROP CONSTRAINT jobs_kind_check,
    ADD CHECK (kind IN ('import', 'rows', 'sync', 'replay')),
    ALTER COLUMN command TYPE json, -- a batch may contain \u0000, which jsonb refuses
    ADD COLUMN mode      text NOT NULL DEFAULT 'upsert',
    ADD COLUMN source    text,
    ADD COLUMN replay_of uuid,
    ADD COLUMN warning   jsonb,
    ADD COLUMN beside    boolean NOT NULL DEFAULT false, -- of a schedule whose ticks may overlap
    ALTER COLUMN api_key DROP NOT NULL;                  -- a schedule has none
CREATE UNIQUE INDEX jobs_one_sync ON jobs (dataset, source) WHERE kind = 'sync' AND finished_at IS NULL AND NOT beside;
CREATE INDEX jobs_of_source ON jobs (dataset, source, id) WHERE kind = 'sync';

-- Requests with an idempotency key that were answered with a sync that ran already, for as long as the key binds.
CREATE TABLE attached (
    api_key         text        NOT NULL REFERENCES api_keys,
    idempotency_key text        NOT NULL,
    fingerprint     text        NOT NULL,
    job_id          uuid        NOT NULL,
    attached_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (api_key, idempotency_key)
);

ALTER TABLE chunks
    ADD COLUMN checked bigint NOT NULL DEFAULT 0,
    ADD COLUMN deleted bigint NOT NULL DEFAULT 0;

-- When the schedule of a source is due next. Whoever moves `next_at` on, under its lock, has fired the tick.
CREATE TABLE schedules (
    dataset  text        NOT NULL,
    source   text        NOT NULL,
    schedule jsonb       NOT NULL,
    next_at  timestamptz NOT NULL,
    PRIMARY KEY (dataset, source)
);

-- What became of each tick: it ran as a job, was skipped because that job still ran, or was missed.
CREATE TABLE ticks (
    dataset    text        NOT NULL,
    source     text        NOT NULL,
    due_at     timestamptz NOT NULL,
    fate       text        NOT NULL CHECK (fate IN ('ran', 'skipped', 'missed')),
    job_id     uuid,
    decided_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (dataset, source, due_at)
);
CREATE INDEX ticks_decided ON ticks (decided_at);
