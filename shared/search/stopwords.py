"""Words that say little, as Postgres' own lists have them."""

LISTED = (
    *("danish", "dutch", "english", "finnish", "french", "german", "hungarian", "italian", "nepali", "norwegian"),
    *("portuguese", "russian", "spanish", "swedish", "turkish"),
)
"""Languages of which Postgres has a list."""


def stemmer(language: str) -> str | None:
    """The text search dictionary that knows the language's stop words, if there is one."""
    return f"{language}_stem" if language in LISTED else None
