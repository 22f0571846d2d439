"""Deployment: the local stack, containers, monitoring."""
