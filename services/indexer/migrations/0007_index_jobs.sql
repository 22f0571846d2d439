ALTER TABLE indexes ADD COLUMN job_id uuid; -- of the job that rebuilds or has rebuilt it
