"""How long the ingestor keeps its ledger, before-images, failed rows and the state of syncs."""

from services.ingestor.before_images import delete_before_images
from services.ingestor.imports.replace import delete_old_stages
from services.ingestor.ledger_lines import delete_ledger_lines
from shared.retention import OLD, Retention, rows, rows_by_age

RETENTIONS = (
    Retention(
        "replaced",
        "as soon as search and rollups have finished with both chunks, the one that wrote the row and the one that"
        " replaced it",
        delete_before_images,
    ),
    Retention(
        "failed_rows",
        "after the row failed",
        rows_by_age(
            "failed_rows",
            "created_at",
            unless="EXISTS (SELECT FROM chunks c WHERE c.job_id = t.resolved_by AND c.chunk = t.replay_chunk"
            " AND c.loaded_at IS NULL)",
        ),
        "keep_failed_rows_days",
    ),
    Retention("failures", "after the rows failed", rows_by_age("failures", "created_at"), "keep_failed_rows_days"),
    Retention(
        "chunks",
        "after loading. A line that rows of the table still refer to stays, with about 320 bytes",
        delete_ledger_lines,
        "keep_ledger_days",
    ),
    Retention(
        "imports",
        "after planning, and not before the failed rows and the unloaded chunks of the job",
        rows_by_age(
            "imports",
            "planned_at",
            unless="EXISTS (SELECT FROM failed_rows f WHERE f.job_id = t.job_id)"
            " OR EXISTS (SELECT FROM chunks c WHERE c.job_id = t.job_id AND c.loaded_at IS NULL)",
        ),
        "keep_ledger_days",
    ),
    Retention(
        "seen",
        "after the last page of a sync that did not end; a sync that ends deletes its own",
        rows("seen", f"t.job_id IN (SELECT job_id FROM pulls WHERE sent_at < {OLD})"),
        "keep_abandoned_days",
    ),
    Retention(
        "pulls",
        "after the last page of a sync that did not end; a sync that ends deletes its own",
        rows_by_age("pulls", "sent_at", unless="EXISTS (SELECT FROM seen s WHERE s.job_id = t.job_id)"),
        "keep_abandoned_days",
    ),
    Retention(
        "replacing_*",
        "after planning a replacement that did not end; one that ends deletes its own",
        delete_old_stages,
        "keep_abandoned_days",
    ),
)
STEADY = {
    "datasets": "one row per dataset",
    "sources": "one row per source",
}
"""Tables that do not grow, with the reason."""
