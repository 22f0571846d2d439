"""Stop words, as Postgres lists them."""

from shared.catalog.dataset import Search

LISTED = (
    *("danish", "dutch", "english", "finnish", "french", "german", "hungarian", "italian", "nepali", "norwegian"),
    *("portuguese", "russian", "spanish", "swedish", "turkish"),
)
"""Languages for which Postgres has a list."""


def stemmer(search: Search) -> str | None:
    """Returns the text search dictionary that drops the stop words of the language, None if it has no list."""
    return search.stemmer if search.language in LISTED else None
