"""How long the indexer keeps marks, results of searches and definitions."""

from shared.retention import Retention, marks, rows_by_age

RETENTIONS = (
    Retention("chunks", "after indexing, and not before the ledger line", marks(), "keep_ledger_days"),
    Retention("searches", "24 hours after the search", rows_by_age("searches", "expires_at")),
    Retention(
        "definitions",
        "after the last lookup was due; while the dictionary is away, they stay",
        rows_by_age(
            "definitions",
            "expires_at",
            unless="EXISTS (SELECT FROM dictionaries d WHERE d.url = t.dictionary)",
        ),
        "keep_definitions_days",
    ),
)
STEADY = {
    "indexes": "at most two generations per dataset",
    "pieces": "one row per 20,000 rows of a generation, deleted with it",
    "freshness": "one row per dataset",
    "dictionaries": "one row per dictionary that does not answer",
}
"""Tables that do not grow, with the reason."""
