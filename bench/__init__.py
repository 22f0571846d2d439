"""Measurements, as ratios against a peer's own tool in the same run."""
