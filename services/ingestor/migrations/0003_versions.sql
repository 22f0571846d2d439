-- So that it can be told quickly which changes others have not caught up with.
CREATE INDEX chunks_versions ON chunks (dataset, version) WHERE version IS NOT NULL;
