-- Answers to searches that were asked for as jobs, until they expire; as text, since a question may hold \u0000.
CREATE TABLE searches (
    job_id     uuid        PRIMARY KEY,
    dataset    text        NOT NULL,
    question   json        NOT NULL,
    hits       json[]      NOT NULL,
    answer     json        NOT NULL, -- all of it but the hits
    made_at    timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL DEFAULT now() + interval '24 hours'
);
CREATE INDEX searches_made ON searches (made_at);
CREATE INDEX searches_expire ON searches (expires_at);
