"""Finds mistakes in the dictionary of a dataset."""

import re
from collections.abc import Iterator

from shared.catalog import field_mistakes
from shared.catalog.dataset import Dataset, Dictionary
from shared.catalog.shape import Mistake, to_path

URL = re.compile(
    r"""^(?:https?://[^/?\#@\s${}]+|\$\{SOURCE_[A-Z0-9_]+\})  # the rest cannot change the host
    [/?][!"%-z|~]*\{word\}[!"%-z|~]*\Z""",
    re.VERBOSE,
)
LONGEST_URL = 200
"""Characters. URL and word are the key of a stored entry, and Postgres limits an index entry to 2,700 bytes."""
MOST_WORDS = 100
LEAST_PER_SECOND = 0.2
"""Lookups run in a transaction for a few seconds, and should finish some words in that time."""


def find_mistakes(dataset: Dataset, dictionary: Dictionary) -> Iterator[Mistake]:
    """Yields the mistakes of a dataset's dictionary."""
    if dataset.search is None:
        yield Mistake("#/dictionary", "dictionary: needs search, which counts the words of a dataset")
    for key, detail in _mistakes(dictionary):
        pointer = f"#/dictionary/{key}"
        yield Mistake(pointer, f"{to_path(pointer)}: {detail}")


def _mistakes(dictionary: Dictionary) -> Iterator[tuple[str, str]]:
    url = dictionary.url
    if not URL.match(url) or len(url) > LONGEST_URL:
        detail = "must look like https://host/entries/{word} or ${SOURCE_DICTIONARY}/{word}"
        yield "url", f"{detail}, in printable ASCII and with at most {LONGEST_URL} characters"
    if dictionary.auth and not url.startswith("$"):
        yield (
            "url",
            "must begin with a variable like ${SOURCE_DICTIONARY}: the operator decides where a secret may go",
        )
    if dictionary.auth and not field_mistakes.NAME.match(dictionary.auth.secret):
        yield "auth/secret", "must be the name of a secret (a-z, 0-9 and _), never the secret itself"
    if not 1 <= dictionary.words <= MOST_WORDS:
        yield "words", f"must be from 1 to {MOST_WORDS}"
    if not dictionary.requests_per_second >= LEAST_PER_SECOND:
        yield "requests_per_second", f"must be at least {LEAST_PER_SECOND}"
