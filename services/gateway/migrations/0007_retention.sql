-- Finished jobs by the end of their life, and the job list by dataset and by status.
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_of_dataset ON jobs (dataset, id);
CREATE INDEX jobs_of_status ON jobs (status, id);
DROP INDEX jobs_recent;
CREATE INDEX attached_at ON attached (attached_at);
