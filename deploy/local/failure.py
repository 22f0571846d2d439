from __future__ import annotations


class StackFailure(Exception):
    """Something the user can act on: the message says what to do."""
