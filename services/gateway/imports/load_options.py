"""Load options of an import: their defaults, and which modes a dataset allows."""

from typing import Any

from services.gateway.http.problems import Problem
from shared.catalog.dataset import Dataset
from shared.contracts.parts import LoadOptions, Mode


def parse_load_options(
    dataset: Dataset, mode: Mode | None, *, max_errors: int | None = None, **others: Any
) -> LoadOptions:
    """Returns the options with defaults for the dataset. Raises Problem 422 for a mode that it does not allow."""
    mode = mode or ("upsert" if dataset.keyed else "append")
    if mode in ("upsert", "insert") and not dataset.keyed:
        raise Problem(
            422,
            "mode_needs_key",
            f"mode={mode} needs a primary key, and {dataset.name} has none.",
            hint="Use append to add the rows, or replace to replace all rows of the table.",
        )
    if mode == "append" and dataset.keyed:
        raise Problem(
            422,
            "mode_refused",
            f"mode=append could duplicate keys, and {dataset.name} has a primary key.",
            hint="Use insert, which refuses rows with an existing key, or upsert, which updates them.",
        )
    if mode == "replace" and max_errors is None and others.get("max_error_rate") is None:
        max_errors = 0  # a replaced table must not lose the rows that failed
    return LoadOptions(mode=mode, max_errors=max_errors, **others)
