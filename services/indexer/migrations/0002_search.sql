-- Documents hold words as they stand now, not stems: what there is, is made anew when the indexer starts.
DO $$ DECLARE old text; BEGIN
    FOR old IN SELECT tablename FROM pg_tables WHERE schemaname = 'documents' LOOP
        EXECUTE format('DROP TABLE documents.%I', old);
    END LOOP;
END $$;

-- The generations of every dataset's documents: one answers questions, another may be being built to take its place.
CREATE TABLE indexes (
    dataset    text        NOT NULL,
    generation integer     GENERATED ALWAYS AS IDENTITY,
    search     json        NOT NULL,
    state      text        NOT NULL CHECK (state IN ('serving', 'building')),
    words      bigint      NOT NULL DEFAULT 0, -- different ones that stand in a document
    made_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (dataset, generation),
    UNIQUE (dataset, state)
);

-- What is to be done of a generation that is being built: the rows of these chunks, of which `first` is one.
CREATE TABLE pieces (
    dataset    text        NOT NULL,
    generation integer     NOT NULL,
    first      bigint      NOT NULL,
    ledgers    bigint[]    NOT NULL,
    sent_at    timestamptz NOT NULL DEFAULT now(),
    done_at    timestamptz,
    PRIMARY KEY (dataset, generation, first),
    FOREIGN KEY (dataset, generation) REFERENCES indexes ON DELETE CASCADE
);

-- Up to which version of a dataset everything can be found, and every word is counted.
CREATE TABLE freshness (
    dataset text   PRIMARY KEY,
    indexed bigint NOT NULL DEFAULT 0,
    counted bigint NOT NULL DEFAULT 0
);
