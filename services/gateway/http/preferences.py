"""The `Prefer` header (RFC 7240)."""

import re

LONGEST_SECONDS = 60
WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?", re.IGNORECASE)
STRICT = re.compile(r"(?:^|[,;\s])handling\s*=\s*\"?strict\b", re.IGNORECASE)


def wait_seconds(prefer: str | None) -> int | None:
    """Returns N of `Prefer: wait=N`, capped; unknown preferences are ignored, as the RFC requires."""
    match = WAIT.search(prefer or "")
    return min(int(match[1]), LONGEST_SECONDS) if match else None


def is_strict(prefer: str | None) -> bool:
    """Returns whether the client sent `Prefer: handling=strict`; lenient is the default."""
    return STRICT.search(prefer or "") is not None
