"""Runs the gateway: `python -m services.gateway`."""

from services.gateway.app import build
from services.gateway.settings import GatewaySettings
from shared.process import serve

serve("gateway", GatewaySettings, build, workers=lambda settings: settings.gateway_workers)
