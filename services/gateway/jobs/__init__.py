"""Jobs: submitted, followed to their end, read and recovered."""
