"""The indexer: loaded rows become documents that can be searched."""

from litestar import Litestar

from services.indexer.handlers import index_chunk, prepare_documents, resend_unindexed
from services.indexer.settings import IndexerSettings
from shared.bus.routes import on
from shared.consumer import Consumer, operations_app
from shared.contracts.events import ChunkIndexed, ChunkLoaded, DatasetDeclared

ROUTES = (
    on(DatasetDeclared, prepare_documents),
    on(ChunkLoaded, index_chunk, then=ChunkIndexed, at_once=2),
)


def build(told: IndexerSettings) -> Litestar:
    """The service, ready to run."""
    return operations_app(Consumer("indexer", ROUTES, told=told, given={}, sweep=resend_unindexed))
