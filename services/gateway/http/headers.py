"""Request headers that several routes share."""

from typing import Annotated

from litestar.params import Parameter

PreferWait = Annotated[str | None, Parameter(header="Prefer", description="wait=N, in seconds")]
IdempotencyKey = Annotated[str | None, Parameter(header="Idempotency-Key", min_length=1, max_length=255)]
