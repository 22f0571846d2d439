"""A search engine on Postgres: filters, full-text queries, facets and pages over the rows of a dataset. Read only."""
