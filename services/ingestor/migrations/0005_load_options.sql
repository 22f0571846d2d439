ALTER TABLE imports RENAME COLUMN terms TO load_options;
