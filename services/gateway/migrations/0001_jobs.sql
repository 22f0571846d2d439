-- Who may ask. The key itself is shown once and never kept.
CREATE TABLE api_keys (
    id         text        PRIMARY KEY,
    name       text        NOT NULL,
    hash       bytea       NOT NULL,
    scope      text        NOT NULL CHECK (scope IN ('read', 'write', 'admin')),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);

-- Accepted work and what has become of it: the public truth. `command` is what was asked of the ingestor.
CREATE TABLE jobs (
    id              uuid        PRIMARY KEY,
    kind            text        NOT NULL CHECK (kind IN ('import')),
    dataset         text        NOT NULL,
    status          text        NOT NULL CHECK (status IN ('queued', 'running', 'succeeded', 'partial', 'failed')),
    phase           text        NOT NULL,
    command         jsonb       NOT NULL,
    api_key         text        NOT NULL REFERENCES api_keys,
    idempotency_key text,
    fingerprint     text        NOT NULL,
    bytes_total     bigint      NOT NULL,
    bytes_planned   bigint,
    bytes_done      bigint      NOT NULL DEFAULT 0,
    chunks          integer,
    percent         float8      NOT NULL DEFAULT 0,
    outcome         jsonb       NOT NULL,
    error           jsonb,
    sequence        integer     NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,
    finished_at     timestamptz,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    told_at         timestamptz NOT NULL DEFAULT now(),
    CHECK ((finished_at IS NOT NULL) = (status IN ('succeeded', 'partial', 'failed')))
);
CREATE INDEX jobs_recent ON jobs (created_at DESC, id);
CREATE INDEX jobs_unfinished ON jobs (updated_at) WHERE finished_at IS NULL;
CREATE UNIQUE INDEX jobs_asked_once ON jobs (api_key, idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE INDEX jobs_asked_at ON jobs (created_at) WHERE idempotency_key IS NOT NULL;

-- How far each chunk of an unfinished job has come: a set, so that repeats and disorder can't miscount.
CREATE TABLE chunks (
    job_id     uuid    NOT NULL REFERENCES jobs ON DELETE CASCADE,
    chunk      integer NOT NULL,
    loaded     boolean NOT NULL DEFAULT false,
    indexed    boolean NOT NULL DEFAULT false,
    counted    boolean NOT NULL DEFAULT false,
    bytes      bigint  NOT NULL DEFAULT 0,
    rows_read  bigint  NOT NULL DEFAULT 0,
    inserted   bigint  NOT NULL DEFAULT 0,
    updated    bigint  NOT NULL DEFAULT 0,
    unchanged  bigint  NOT NULL DEFAULT 0,
    duplicates bigint  NOT NULL DEFAULT 0,
    failed     bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (job_id, chunk)
);

-- Numbers that readers page by come from here, under the row's lock: a sequence would let a later number commit first.
CREATE TABLE counters (
    name  text   PRIMARY KEY,
    value bigint NOT NULL
);
INSERT INTO counters VALUES ('events', 0);

-- The public event log, append-only: every door shows these, with these ids, in this order.
CREATE TABLE events (
    id       bigint      PRIMARY KEY,
    type     text        NOT NULL,
    dataset  text        NOT NULL,
    job_id   uuid        NOT NULL,
    sequence integer     NOT NULL,
    time     timestamptz NOT NULL DEFAULT now(),
    data     jsonb       NOT NULL,
    UNIQUE (job_id, sequence)
);
CREATE UNIQUE INDEX events_one_end ON events (job_id) WHERE type IN ('job.succeeded', 'job.partial', 'job.failed');
