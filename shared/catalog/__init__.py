"""What a declaration of a dataset or a report is, and whether it makes sense. Pure: no driver, no clock, no network."""
