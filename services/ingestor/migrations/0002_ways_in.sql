-- `filed`: the declaration that was read from the catalog folder last, so that one declared over HTTP outlives a restart.
ALTER TABLE datasets ADD COLUMN filed json;

-- An import is any job that brings rows: a file, a batch, a source, failed rows once more.
ALTER TABLE imports
    ALTER COLUMN file DROP NOT NULL,
    ADD COLUMN terms       jsonb  NOT NULL DEFAULT '{}',
    ADD COLUMN source      text,
    ADD COLUMN replay_of   uuid,
    ADD COLUMN failed_kept bigint NOT NULL DEFAULT 0,
    ADD COLUMN warning     jsonb,
    ADD COLUMN stopped     jsonb;
ALTER TABLE imports ALTER COLUMN chunks DROP NOT NULL; -- of a source, unknown until its last page

ALTER TABLE chunks
    ADD COLUMN checked bigint NOT NULL DEFAULT 0,
    ADD COLUMN deleted bigint NOT NULL DEFAULT 0,
    DROP CONSTRAINT chunks_check,
    ADD CHECK (loaded_at IS NULL OR rows_read = inserted + updated + unchanged + duplicates + failed + checked);

-- How many rows of a chunk have which error in which column: exact, however few of the rows are kept.
CREATE TABLE failures (
    job_id uuid    NOT NULL,
    chunk  integer NOT NULL,
    code   text    NOT NULL,
    "column" text  NOT NULL,
    rows   bigint  NOT NULL,
    PRIMARY KEY (job_id, chunk, code, "column")
);

-- `resolved_by` is the job that took the row up again, as part of its chunk `replay_chunk`, or the request that discarded it.
ALTER TABLE failed_rows
    DROP CONSTRAINT failed_rows_state_check,
    ADD CHECK (state IN ('open', 'replayed', 'discarded')),
    ADD COLUMN resolved_by  uuid,
    ADD COLUMN replay_chunk integer;
CREATE INDEX failed_rows_replayed ON failed_rows (resolved_by, replay_chunk) WHERE resolved_by IS NOT NULL;

-- What is known of a source from one sync to the next: its incremental cursor.
CREATE TABLE sources (
    dataset    text        NOT NULL,
    source     text        NOT NULL,
    cursor     text,
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (dataset, source)
);

-- The pages that a running sync is to pull next, so that a lost message can be sent again.
CREATE TABLE pulls (
    job_id     uuid        PRIMARY KEY,
    dataset    text        NOT NULL,
    source     text        NOT NULL,
    chunk      integer     NOT NULL,
    at         jsonb       NOT NULL,
    message_id uuid        NOT NULL,
    sent_at    timestamptz NOT NULL DEFAULT now()
);

-- Outside ids that a sync has met so far: rows with others are deleted at its end, if the source says so.
CREATE TABLE seen (
    job_id uuid NOT NULL,
    id     text NOT NULL,
    PRIMARY KEY (job_id, id)
);
