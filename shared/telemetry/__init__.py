"""Logs, metrics and health checks of every process."""
