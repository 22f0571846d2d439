"""What analytics is told."""

from shared.settings import ServiceSettings


class AnalyticsSettings(ServiceSettings, frozen=True, kw_only=True):
    """Nothing beyond what every service is told."""
