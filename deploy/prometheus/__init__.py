"""Prometheus: configuration and alert rules."""
