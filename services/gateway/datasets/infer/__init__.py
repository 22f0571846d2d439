"""Drafts of declarations, inferred from a sample."""
