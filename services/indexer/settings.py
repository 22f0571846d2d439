"""Settings of the indexer."""

from shared.settings import ServiceSettings


class IndexerSettings(ServiceSettings, frozen=True, kw_only=True):
    """`source_allow` lists `host:port` pairs of dictionaries that may be at private addresses or use plain HTTP."""

    source_allow: str = ""
