"""What the services say to each other: commands, events and the envelope they travel in."""
