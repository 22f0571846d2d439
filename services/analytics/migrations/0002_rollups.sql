-- The rollups that stand, as declared when they were built.
CREATE TABLE rollups (
    dataset     text        NOT NULL,
    name        text        NOT NULL,
    declaration json        NOT NULL, -- not jsonb: the order of its columns is kept
    built_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (dataset, name)
);

-- Up to which version of a dataset everything is in its rollups.
CREATE TABLE freshness (
    dataset text   PRIMARY KEY,
    counted bigint NOT NULL DEFAULT 0
);

-- Refreshes of reports and rebuilds of rollups that are done: the event that told of it, should it be lost.
CREATE TABLE refreshes (
    job_id  uuid        NOT NULL,
    round   integer     NOT NULL,
    event   json        NOT NULL,
    done_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, round)
);
CREATE INDEX refreshes_done ON refreshes (done_at);
