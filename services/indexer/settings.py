"""Settings of the indexer."""

from shared.settings import ServiceSettings


class IndexerSettings(ServiceSettings, frozen=True, kw_only=True):
    """`source_allow` lists hosts with ports that dictionaries may use even if not public or without TLS."""

    source_allow: str = ""
