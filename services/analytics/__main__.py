"""Runs analytics: `python -m services.analytics`."""

from services.analytics.app import build
from services.analytics.settings import AnalyticsSettings
from shared.process import serve

serve("analytics", AnalyticsSettings, build)
