"""The indexer: loaded rows become documents that can be searched, and searches answers that are kept."""

from litestar import Litestar

from services.indexer import counting
from services.indexer.generations import build_index, index_piece, prepare_all, prepare_documents, switch_index
from services.indexer.handlers import index_chunk, resend_unindexed
from services.indexer.searching import run_search
from services.indexer.settings import IndexerSettings
from shared.bus.routes import on
from shared.consumer import Consumer, operations_app
from shared.contracts.commands import BuildIndex, IndexPiece, RunSearch, SwitchIndex
from shared.contracts.events import ChunkIndexed, ChunkLoaded, DatasetDeclared, SearchCompleted

ROUTES = (
    on(DatasetDeclared, prepare_documents, then=IndexPiece),
    on(ChunkLoaded, index_chunk, then=ChunkIndexed, at_once=2),
    on(BuildIndex, build_index, then=IndexPiece),
    on(IndexPiece, index_piece, then=SwitchIndex, at_once=2),
    on(SwitchIndex, switch_index),
    on(RunSearch, run_search, then=SearchCompleted, at_once=2),
)


def build(told: IndexerSettings) -> Litestar:
    """The service, ready to run."""
    return operations_app(
        Consumer(
            "indexer",
            ROUTES,
            told=told,
            given={},
            sweep=resend_unindexed,
            start=prepare_all,
            beside=counting.run,
        )
    )
