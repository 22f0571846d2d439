"""How long analytics keeps marks."""

from shared.retention import Retention, marks

RETENTIONS = (Retention("chunks", "after counting, and not before the ledger line", marks(), "keep_ledger_days"),)
STEADY = {
    "rollups": "one row per rollup",
    "freshness": "one row per dataset",
}
"""Tables that do not grow, with the reason."""
