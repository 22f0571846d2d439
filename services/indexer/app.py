"""The indexer: loaded rows become documents that can be searched, and searches answers that are kept."""

import os

from litestar import Litestar

from services.indexer import counting, defining
from services.indexer.defining import define_words
from services.indexer.generations import build_index, index_piece, prepare_all, prepare_documents, switch_index
from services.indexer.handlers import index_chunk, resend_unindexed
from services.indexer.known import Known
from services.indexer.searching import run_search
from services.indexer.settings import IndexerSettings
from shared.bus.clock import Clock
from shared.bus.routes import on
from shared.consumer import Consumer, operations_app
from shared.contracts.commands import BuildIndex, DefineWords, IndexPiece, RunSearch, SwitchIndex
from shared.contracts.events import ChunkIndexed, ChunkLoaded, DatasetDeclared, SearchCompleted
from shared.outgoing.visits import Outgoing

ROUTES = (
    on(DatasetDeclared, prepare_documents, then=IndexPiece),
    on(ChunkLoaded, index_chunk, then=ChunkIndexed, at_once=2),
    on(BuildIndex, build_index, then=IndexPiece),
    on(IndexPiece, index_piece, then=SwitchIndex, at_once=2),
    on(SwitchIndex, switch_index),
    on(RunSearch, run_search, then=SearchCompleted, at_once=2),
    on(DefineWords, define_words, then=DefineWords),
)


def build(told: IndexerSettings) -> Litestar:
    """The service, ready to run."""
    return operations_app(
        Consumer(
            "indexer",
            ROUTES,
            told=told,
            given={Outgoing: Outgoing(told.source_allow, os.environ), Known: Known()},
            sweep=resend_unindexed,
            start=prepare_all,
            clocks=(Clock(counting.look, counting.EVERY_SECONDS), Clock(defining.look, defining.EVERY_SECONDS)),
        )
    )
