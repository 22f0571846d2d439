"""Words that say little, as Postgres' own lists have them."""

from shared.catalog.dataset import Search

LISTED = (
    *("danish", "dutch", "english", "finnish", "french", "german", "hungarian", "italian", "nepali", "norwegian"),
    *("portuguese", "russian", "spanish", "swedish", "turkish"),
)
"""Languages of which Postgres has a list."""


def stemmer(search: Search) -> str | None:
    """The text search dictionary that knows the stop words of its language, if there is one."""
    return search.stemmer if search.language in LISTED else None
