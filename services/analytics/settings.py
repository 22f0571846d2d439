"""Settings of analytics."""

from shared.settings import ServiceSettings


class AnalyticsSettings(ServiceSettings, frozen=True, kw_only=True):
    """Analytics has only the settings of every service."""
