ALTER TABLE jobs
    DROP CONSTRAINT jobs_kind_check,
    ADD CHECK (kind IN ('import', 'rows', 'sync', 'replay', 'search', 'refresh', 'rebuild', 'detach'));
