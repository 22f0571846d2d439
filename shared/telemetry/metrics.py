"""All metrics of all services. Labels have few values: never a job, a key or a row."""

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

HTTP_SECONDS = Histogram(
    "millrace_http_request_seconds",
    "Time from request to response in seconds",
    ["method", "route", "status"],
    buckets=SECONDS,
)
UPLOAD_BYTES = Counter("millrace_upload_bytes", "Bytes of uploaded files", ["dataset"])
JOBS = Gauge(
    "millrace_jobs", "Jobs by kind and status: unfinished, or finished within the last hour", ["kind", "status"]
)
JOBS_ENDED = Counter("millrace_jobs_ended", "Jobs finished since the process started", ["kind", "status"])
JOB_SECONDS = Histogram(
    "millrace_job_seconds", "Time from accepting to finishing a job in seconds", ["kind"], buckets=SECONDS
)
OLDEST_JOB_SECONDS = Gauge("millrace_oldest_unfinished_job_seconds", "Age of the oldest unfinished job in seconds")
ACCOUNTING_VIOLATIONS = Counter("millrace_accounting_violations", "Jobs whose row counts do not add up")
TICKS = Gauge("millrace_ticks", "Scheduled runs within the last hour by result", ["fate"])
ROWS = Counter("millrace_rows", "Rows read by result", ["dataset", "outcome"])
FAILED_ROWS = Counter("millrace_failed_rows", "Errors of failed rows by code", ["dataset", "code"])
DOCUMENTS = Counter("millrace_documents", "Documents written to search indexes", ["dataset"])
DEFINITIONS = Counter("millrace_definitions", "Dictionary lookups by result", ["result"])
GROUPS = Counter("millrace_rollup_groups", "Rollup groups changed by loaded chunks", ["dataset"])
MENDED = Counter("millrace_rollup_mended", "Rollup groups corrected by rebuilds", ["dataset"])
MESSAGES = Counter("millrace_messages", "Messages handled by result", ["message", "result"])
MESSAGE_SECONDS = Histogram(
    "millrace_message_seconds",
    "Time to handle and commit a message, or a group of them, in seconds",
    ["message"],
    buckets=SECONDS,
)
QUEUE_MESSAGES = Gauge("millrace_queue_messages", "Messages waiting in a queue of the service", ["queue"])
QUEUE_CONSUMERS = Gauge("millrace_queue_consumers", "Consumers of a queue of the service", ["queue"])
DEAD_LETTERS = Gauge(
    "millrace_dead_letters",
    "Messages that the service has given up and nobody has redriven or discarded; for the gateway, also those in the"
    " broker's dead queue",
)
OUTBOX_MESSAGES = Gauge("millrace_outbox_messages", "Messages in the outbox, not yet published")
OUTBOX_SECONDS = Gauge("millrace_outbox_oldest_seconds", "Seconds since the oldest message in the outbox became due")
PUBLISHED = Counter("millrace_published", "Messages published and confirmed by the broker", ["message"])
UNROUTABLE = Counter("millrace_unroutable", "Messages returned by the broker because no queue takes them", ["message"])
REFUSED = Counter("millrace_refused", "Messages refused by the broker because a queue is full", ["message"])
RESENT = Counter("millrace_resent", "Lost messages sent again by recovery; 0 without faults", ["message"])
TABLE_ROWS = Gauge("millrace_table_rows", "Rows of a table as estimated by Postgres", ["table"])
TABLE_BYTES = Gauge("millrace_table_bytes", "Size of a table with its indexes in bytes", ["table"])
RETENTION_DELETED = Counter("millrace_retention_deleted", "Rows deleted because their life is over", ["table"])
