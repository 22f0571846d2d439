"""What the indexer is told."""

from shared.settings import ServiceSettings


class IndexerSettings(ServiceSettings, frozen=True, kw_only=True):
    """Nothing beyond what every service is told."""
