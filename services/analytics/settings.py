"""Settings of analytics."""

from shared.settings import ServiceSettings


class AnalyticsSettings(ServiceSettings, frozen=True, kw_only=True):
    """The settings that all services share."""
