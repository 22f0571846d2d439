"""Declarations of datasets and reports, and their validation. Pure: no driver, no clock, no network."""
