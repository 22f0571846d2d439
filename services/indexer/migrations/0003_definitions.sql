-- What dictionaries outside, known by their declared URL, say about words. A word is asked for again after `expires_at`;
-- as long as that fails, what was said before stands.
CREATE TABLE definitions (
    dictionary text        NOT NULL,
    word       text        NOT NULL,
    state      text        NOT NULL CHECK (state IN ('found', 'unknown', 'unavailable')),
    phonetic   text,
    meanings   jsonb,
    failures   integer     NOT NULL DEFAULT 0,
    fetched_at timestamptz,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (dictionary, word)
);

-- Dictionaries that did not answer when they were asked last, and when they may be asked again.
CREATE TABLE dictionaries (
    url        text        PRIMARY KEY,
    failures   integer     NOT NULL,
    retry_at   timestamptz NOT NULL,
    problem    jsonb       NOT NULL
);
