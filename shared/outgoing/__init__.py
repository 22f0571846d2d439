"""Everything that is asked of the outside world: where it may be, with which secret, and what may come back."""
