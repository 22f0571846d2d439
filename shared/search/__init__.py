"""Questions about the rows of a dataset: which rows, by which words, in which order, from where on. Only reads."""
