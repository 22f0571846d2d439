"""Runs the ingestor: `python -m services.ingestor`."""

from services.ingestor.app import build
from services.ingestor.settings import IngestorSettings
from shared.process import serve

serve("ingestor", IngestorSettings, build)
