"""Settings of the indexer."""

from shared.settings import Days, ServiceSettings


class IndexerSettings(ServiceSettings, frozen=True, kw_only=True):
    """`source_allow` lists `host:port` pairs of dictionaries that may be at private addresses or use plain HTTP.

    Settings with `keep` are explained by `services/indexer/retention.py`.
    """

    source_allow: str = ""
    keep_ledger_days: Days = 90
    keep_definitions_days: Days = 30
