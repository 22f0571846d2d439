"""The indexer: loaded rows become documents that can be searched."""

import os

from litestar import Litestar

from services.indexer import defining
from services.indexer.defining import define_words
from services.indexer.handlers import index_chunk, prepare_documents, resend_unindexed
from services.indexer.settings import IndexerSettings
from shared.bus.routes import on
from shared.consumer import Consumer, operations_app
from shared.contracts.commands import DefineWords
from shared.contracts.events import ChunkIndexed, ChunkLoaded, DatasetDeclared
from shared.outgoing.visits import Outgoing

ROUTES = (
    on(DatasetDeclared, prepare_documents),
    on(ChunkLoaded, index_chunk, then=ChunkIndexed, at_once=2),
    on(DefineWords, define_words, then=DefineWords),
)


def build(told: IndexerSettings) -> Litestar:
    """The service, ready to run."""
    return operations_app(
        Consumer(
            "indexer",
            ROUTES,
            told=told,
            given={Outgoing: Outgoing(told.source_allow, os.environ)},
            sweep=resend_unindexed,
            beside=defining.run,
        )
    )
