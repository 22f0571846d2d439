"""Runs the indexer: `python -m services.indexer`."""

from services.indexer.app import build
from services.indexer.settings import IndexerSettings
from shared.process import serve

serve("indexer", IndexerSettings, build)
