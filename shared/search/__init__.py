"""Questions about the rows of a dataset, as SQL: which rows, in which order, from where on."""
