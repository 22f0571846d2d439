"""Settings of analytics."""

from shared.settings import Days, ServiceSettings


class AnalyticsSettings(ServiceSettings, frozen=True, kw_only=True):
    """Settings with `keep` are explained by `services/analytics/retention.py`."""

    keep_ledger_days: Days = 90
