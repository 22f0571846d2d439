-- The year that a job detaches.
ALTER TABLE imports ADD COLUMN year integer;
