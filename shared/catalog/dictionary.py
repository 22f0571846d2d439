"""A dictionary: an outside API that tells what the most frequent words of a dataset mean and how they sound."""

import msgspec

from shared.catalog.source import Auth


class Dictionary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`url` has `{word}` where the word belongs. So many `words`, the most frequent, are looked up."""

    url: str
    auth: Auth | None = None
    words: int = 100
    requests_per_second: float = 5
