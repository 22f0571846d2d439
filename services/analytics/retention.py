"""How long analytics keeps marks and finished refreshes."""

from shared.ledger import delete_marks
from shared.retention import Retention, rows_by_age

RETENTIONS = (
    Retention("chunks", "after counting, and not before the ledger line", delete_marks(), "keep_ledger_days"),
    Retention("refreshes", "after the refresh or rebuild", rows_by_age("refreshes", "done_at"), "keep_refreshes_days"),
)
STEADY = {
    "rollups": "one row per rollup",
    "freshness": "one row per dataset",
}
"""Tables that do not grow, with the reason."""
