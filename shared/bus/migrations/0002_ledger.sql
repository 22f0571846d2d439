-- The ledger: a sent message stays in the outbox until each of its `receivers` has its id in its inbox. A row without
-- receivers (a public event, a retry, a resend) is deleted once it is sent. `problem` is why a retry waits.
ALTER TABLE outbox
    ADD COLUMN receivers text[] NOT NULL DEFAULT '{}',
    ADD COLUMN sent_at   timestamptz,
    ADD COLUMN problem   jsonb;
DROP INDEX outbox_due;
CREATE INDEX outbox_due ON outbox (due_at) WHERE sent_at IS NULL;
CREATE INDEX outbox_sent ON outbox (sent_at) WHERE sent_at IS NOT NULL;

-- Failed attempts of messages, and deliveries that were begun after an earlier one had killed its process.
CREATE TABLE attempts (
    message_id uuid        NOT NULL,
    number     integer     NOT NULL,
    name       text        NOT NULL,
    job_id     uuid,
    worker     text        NOT NULL,
    began_at   timestamptz NOT NULL DEFAULT now(),
    problem    jsonb,       -- null while it runs, and for ever if the process was killed
    PRIMARY KEY (message_id, number)
);
CREATE INDEX attempts_of_job ON attempts (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX attempts_began ON attempts (began_at);

-- Messages that were given up, or shelved because their job was canceled. A dead one has ended: its id is in the inbox.
CREATE TABLE dead_letters (
    id         uuid        PRIMARY KEY,
    queue      text        NOT NULL,
    name       text        NOT NULL,
    dataset    text        NOT NULL,
    job_id     uuid,
    data       bytea       NOT NULL,
    command    boolean     NOT NULL,
    reason     text        NOT NULL CHECK (reason IN ('failed', 'poison', 'undecodable', 'too_large', 'canceled')),
    problem    jsonb       NOT NULL,
    attempts   integer     NOT NULL,
    created_at timestamptz NOT NULL,
    died_at    timestamptz NOT NULL DEFAULT now(),
    state      text        NOT NULL DEFAULT 'dead' CHECK (state IN ('dead', 'redriven', 'discarded')),
    redriven   integer     NOT NULL DEFAULT 0,
    settled_at timestamptz
);
CREATE INDEX dead_letters_dead ON dead_letters (died_at) WHERE state = 'dead';
CREATE INDEX dead_letters_of_job ON dead_letters (job_id) WHERE job_id IS NOT NULL;

-- When a message was last sent again, by a retry or by recovery, which then waits as long as for the first time.
CREATE TABLE resent (
    id        uuid        PRIMARY KEY,
    resent_at timestamptz NOT NULL DEFAULT now()
);
