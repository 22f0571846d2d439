"""What is wrong with the dictionary of a dataset."""

import re
from collections.abc import Iterator

from shared.catalog import fields
from shared.catalog.dataset import Dataset
from shared.catalog.dictionary import Dictionary
from shared.catalog.shape import Mistake, place

URL = re.compile(
    r"""^(?:https?://[^/?\#@\s${}]+|\$\{SOURCE_[A-Z0-9_]+\})  # what follows it can't change the host
    [/?][!"%-z|~]*\{word\}[!"%-z|~]*\Z""",
    re.VERBOSE,
)
LONGEST_URL = 200
"""Definitions are known by it, together with a word: an entry of a B-tree has 2,700 bytes at most."""
MOST_WORDS = 100
LEAST_PER_SECOND = 0.2
"""Words are fetched within a transaction, a few seconds at a time."""


def mistakes(dataset: Dataset, dictionary: Dictionary) -> Iterator[Mistake]:
    """A sentence each."""
    if dataset.search is None:
        yield Mistake("#/dictionary", "dictionary: the words of a dataset are counted only if it declares search")
    for key, detail in _mistakes(dictionary):
        pointer = f"#/dictionary/{key}"
        yield Mistake(pointer, f"{place(pointer)}: {detail}")


def _mistakes(dictionary: Dictionary) -> Iterator[tuple[str, str]]:
    url = dictionary.url
    if not URL.match(url) or len(url) > LONGEST_URL:
        detail = "must be like https://host/entries/{word}, or begin with a variable, like ${SOURCE_DICTIONARY}"
        yield "url", f"{detail}; of printable ASCII, {LONGEST_URL} characters at most"
    if dictionary.auth and not url.startswith("$"):
        yield (
            "url",
            "must begin with a variable, like ${SOURCE_DICTIONARY}: who runs Millrace says where a secret may go",
        )
    if dictionary.auth and not fields.NAME.match(dictionary.auth.secret):
        yield "auth/secret", "is the name of a secret, of a-z, 0-9 and _, never the secret itself"
    if not 1 <= dictionary.words <= MOST_WORDS:
        yield "words", f"must be from 1 to {MOST_WORDS}"
    if not dictionary.requests_per_second >= LEAST_PER_SECOND:
        yield "requests_per_second", f"must be at least {LEAST_PER_SECOND}"
