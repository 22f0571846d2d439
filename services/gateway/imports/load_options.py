"""Which terms of a job fit which dataset, and what they are when nothing is said."""

from typing import Any

from services.gateway.http.problems import Problem
from shared.catalog.dataset import Dataset
from shared.contracts.parts import LoadOptions, Mode


def to_load_options(
    dataset: Dataset, mode: Mode | None, *, max_errors: int | None = None, **others: Any
) -> LoadOptions:
    """Raises Problem 422."""
    mode = mode or ("upsert" if dataset.keyed else "append")
    if mode in ("upsert", "insert") and not dataset.keyed:
        raise Problem(
            422,
            "mode_needs_key",
            f"mode={mode} tells rows by their key, and {dataset.name} has none.",
            hint="Use append to add the rows, or replace to have only them.",
        )
    if mode == "append" and dataset.keyed:
        raise Problem(
            422,
            "mode_refused",
            f"mode=append would add rows whose key is there already, and {dataset.name} has a key.",
            hint="Use insert, which refuses such rows, or upsert, which updates them.",
        )
    if mode == "replace" and max_errors is None and others.get("max_error_rate") is None:
        max_errors = 0  # who replaces a table would not want it to lose the rows that failed
    return LoadOptions(mode=mode, max_errors=max_errors, **others)
