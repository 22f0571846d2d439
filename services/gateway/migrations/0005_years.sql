-- A year is detached by one job at a time; who asks for it meanwhile is answered with that one.
CREATE UNIQUE INDEX jobs_one_detach ON jobs (dataset, (command->>'year')) WHERE kind = 'detach' AND finished_at IS NULL;
