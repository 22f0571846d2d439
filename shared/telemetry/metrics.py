"""Every metric of every service, on one page. Labels are bounded: never a job, a key or a row."""

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

HTTP_SECONDS = Histogram(
    "millrace_http_request_seconds",
    "Time from a request to its answer",
    ["method", "route", "status"],
    buckets=SECONDS,
)
UPLOAD_BYTES = Counter("millrace_upload_bytes", "Bytes of files received", ["dataset"])
JOBS = Gauge("millrace_jobs", "Jobs by state, as the database has them", ["kind", "status"])
JOBS_ENDED = Counter("millrace_jobs_ended", "Jobs that ended since this process began", ["kind", "status"])
JOB_SECONDS = Histogram(
    "millrace_job_seconds", "Time from the acceptance of a job to its end", ["kind"], buckets=SECONDS
)
OLDEST_JOB_SECONDS = Gauge("millrace_oldest_unfinished_job_seconds", "Age of the oldest job that has not ended")
ACCOUNTING_VIOLATIONS = Counter("millrace_accounting_violations", "Jobs whose rows did not add up")
TICKS = Gauge("millrace_ticks", "Ticks of schedules within the last hour, by what became of them", ["fate"])
ROWS = Counter("millrace_rows", "Rows by what became of them", ["dataset", "outcome"])
FAILED_ROWS = Counter("millrace_failed_rows", "Errors in failed rows by code", ["dataset", "code"])
DOCUMENTS = Counter("millrace_documents", "Documents written to the search index", ["dataset"])
DEFINITIONS = Counter("millrace_definitions", "Words looked up in dictionaries, by what became of it", ["result"])
GROUPS = Counter("millrace_rollup_groups", "Groups of rollups that chunks changed", ["dataset"])
MENDED = Counter("millrace_rollup_mended", "Groups of rollups that were wrong until a rebuild", ["dataset"])
MESSAGES = Counter("millrace_messages", "Messages handled, by how it ended", ["message", "result"])
MESSAGE_SECONDS = Histogram(
    "millrace_message_seconds", "Time to handle a message, commit included", ["message"], buckets=SECONDS
)
QUEUE_MESSAGES = Gauge("millrace_queue_messages", "Messages that wait in a queue of this service", ["queue"])
QUEUE_CONSUMERS = Gauge("millrace_queue_consumers", "Consumers of a queue of this service", ["queue"])
DEAD_LETTERS = Gauge("millrace_dead_letters", "Messages that nobody could handle")
OUTBOX_MESSAGES = Gauge("millrace_outbox_messages", "Messages written but not yet published")
OUTBOX_SECONDS = Gauge("millrace_outbox_oldest_seconds", "How long the oldest due message has waited to be published")
PUBLISHED = Counter("millrace_published", "Messages published and confirmed", ["message"])
UNROUTABLE = Counter("millrace_unroutable", "Messages returned because no queue takes them", ["message"])
RESENT = Counter("millrace_resent", "Messages that a sweeper sent again; none without a fault", ["message"])
