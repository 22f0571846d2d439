"""Refused rows that can't be read again from what is kept of them: they have to be mended. So have blank ones."""

UNREADABLE = ("encoding", "nul_byte", "stray_quote", "unclosed_quote", "too_large")
"""Codes of errors: characters of the row are missing, or where it ends is a guess."""

LONGEST_RAW = 64 << 10
"""Bytes that are kept of a refused row."""

CUT_OFF = LONGEST_RAW - 3
"""Bytes from which on a row may have been cut off: the parts of a last character are left out."""
