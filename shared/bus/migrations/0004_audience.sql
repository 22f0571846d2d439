-- The receivers of a message in its routing key, if it goes to fewer than all receivers of its type.
ALTER TABLE outbox ADD COLUMN audience text NOT NULL DEFAULT '';
