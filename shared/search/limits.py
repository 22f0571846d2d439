"""Limits of a search: how much it reads, ranks and waits for."""

MAX_RANKED = 2000
"""Hits that are scored, at most."""
MAX_EXAMINED = 10_000
"""Documents that the bounded query reads: those with the words, or any if the words are frequent."""
ENOUGH_HITS = 50
"""Hits of the bounded query that are enough, if they fill two pages."""
FREQUENT_RATIO = 2_500
"""Words are frequent if the square of their documents exceeds this multiple of all documents."""
BUDGET_SECONDS = 1.0
"""The time for all statements of a search. A statement after that gets a fifth of it."""
