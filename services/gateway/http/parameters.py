"""Header parameters of routes that submit work."""

from typing import Annotated

from litestar.params import Parameter

Prefer = Annotated[str | None, Parameter(header="Prefer", description="wait=N, in seconds")]
IdempotencyKey = Annotated[str | None, Parameter(header="Idempotency-Key", min_length=1, max_length=255)]
