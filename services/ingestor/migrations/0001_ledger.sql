-- Every dataset whose table stands, as declared last. `version` counts the committed changes of its rows.
CREATE TABLE datasets (
    name        text        PRIMARY KEY,
    declaration json        NOT NULL, -- not jsonb: the order of rollup columns is kept
    revision    integer     NOT NULL DEFAULT 1,
    version     bigint      NOT NULL DEFAULT 0,
    declared_at timestamptz NOT NULL DEFAULT now()
);

-- A file that was cut into chunks.
CREATE TABLE imports (
    job_id     uuid        PRIMARY KEY,
    dataset    text        NOT NULL REFERENCES datasets,
    file       text        NOT NULL,
    dialect    jsonb       NOT NULL,
    chunks     integer     NOT NULL,
    planned_at timestamptz NOT NULL DEFAULT now()
);

-- The chunk ledger: what is to be loaded, and once it is, what became of its rows. Rows carry `ledger` as `_chunk`.
CREATE TABLE chunks (
    ledger     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id     uuid        NOT NULL,
    chunk      integer     NOT NULL,
    dataset    text        NOT NULL REFERENCES datasets,
    message_id uuid        NOT NULL,
    start_byte bigint      NOT NULL,
    end_byte   bigint      NOT NULL,
    line       bigint      NOT NULL,
    overlong   boolean     NOT NULL,
    sent_at    timestamptz NOT NULL DEFAULT now(),
    loaded_at  timestamptz,
    version    bigint,
    rows_read  bigint      NOT NULL DEFAULT 0,
    inserted   bigint      NOT NULL DEFAULT 0,
    updated    bigint      NOT NULL DEFAULT 0,
    unchanged  bigint      NOT NULL DEFAULT 0,
    duplicates bigint      NOT NULL DEFAULT 0,
    failed     bigint      NOT NULL DEFAULT 0,
    UNIQUE (job_id, chunk),
    CHECK (loaded_at IS NULL OR rows_read = inserted + updated + unchanged + duplicates + failed)
);
CREATE INDEX chunks_waiting ON chunks (sent_at) WHERE loaded_at IS NULL;
CREATE INDEX chunks_loaded ON chunks (loaded_at);

-- Rows that were refused, with everything that is wrong about them.
CREATE TABLE failed_rows (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id     uuid        NOT NULL,
    dataset    text        NOT NULL,
    chunk      integer     NOT NULL,
    line       bigint      NOT NULL,
    raw        text        NOT NULL,
    errors     jsonb       NOT NULL,
    state      text        NOT NULL DEFAULT 'open' CHECK (state IN ('open')),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX failed_rows_of_job ON failed_rows (job_id, line, id);

-- Rows as they were before chunk `ledger` changed them; `was` is the chunk that had written them. With it, what a chunk
-- added and took away can be told at any time later, in any order.
CREATE TABLE replaced (
    ledger  bigint NOT NULL,
    was     bigint NOT NULL,
    dataset text   NOT NULL,
    row     jsonb  NOT NULL
);
CREATE INDEX replaced_by ON replaced (ledger);
CREATE INDEX replaced_was ON replaced (was);
