"""What the indexer is told."""

from shared.settings import ServiceSettings


class IndexerSettings(ServiceSettings, frozen=True, kw_only=True):
    """`source_allow` lists hosts with ports at which dictionaries may be though these are not public, or speak http."""

    source_allow: str = ""
