"""Simulated external APIs for the catalog's sources, for development and tests. Not part of the product."""
