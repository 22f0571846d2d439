-- What retention deletes by age.
ALTER TABLE failures ADD COLUMN created_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX failures_created ON failures (created_at);
CREATE INDEX failed_rows_created ON failed_rows (created_at);
CREATE INDEX imports_planned ON imports (planned_at);
CREATE INDEX pulls_sent ON pulls (sent_at);
