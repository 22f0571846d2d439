-- What this service has decided to say but not yet said; a row goes when the broker has confirmed it.
CREATE TABLE outbox (
    id         uuid        NOT NULL,
    queue      text        NOT NULL DEFAULT '',
    name       text        NOT NULL,
    dataset    text        NOT NULL,
    subject    text        NOT NULL,
    command    boolean     NOT NULL,
    mandatory  boolean     NOT NULL,
    attempt    integer     NOT NULL DEFAULT 0,
    data       bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    due_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, queue)
);
CREATE INDEX outbox_due ON outbox (due_at);

-- What this service has heard and done, so that it is done once.
CREATE TABLE inbox (
    id      uuid        PRIMARY KEY,
    name    text        NOT NULL,
    done_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX inbox_done ON inbox (done_at);
