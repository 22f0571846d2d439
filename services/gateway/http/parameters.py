"""Header parameters of routes that submit work."""

from typing import Annotated

from litestar.params import Parameter

Prefer = Annotated[str | None, Parameter(header="Prefer", description="wait=N, in seconds")]
IdempotencyKey = Annotated[str | None, Parameter(header="Idempotency-Key", min_length=1, max_length=255)]
LONGEST_DEADLINE = 30 * 86_400
Deadline = Annotated[
    int | None,
    Parameter(
        header="Millrace-Deadline",
        ge=1,
        le=LONGEST_DEADLINE,
        description="Seconds that the job may take; then it fails with `deadline_exceeded`. The default depends on the"
        " kind of job",
    ),
]
