-- The lane of a message: its receivers have a queue for each, so that small messages overtake large ones.
ALTER TABLE outbox ADD COLUMN lane text NOT NULL DEFAULT '';
