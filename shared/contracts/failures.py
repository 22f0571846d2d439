"""Limits on the stored text of failed rows, and the errors after which it cannot be loaded again unchanged."""

UNREADABLE = ("encoding", "nul_byte", "stray_quote", "unclosed_quote", "too_large")
"""Error codes of rows whose stored text lacks characters, or whose end is a guess."""

LONGEST_RAW = 64 << 10
"""Bytes of a failed row that are stored."""

CUT_OFF = LONGEST_RAW - 3
"""Length in bytes from which a stored row may be truncated: an incomplete last character is left out."""
