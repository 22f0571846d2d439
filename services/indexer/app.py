"""The indexer service: makes loaded rows searchable, runs search jobs and looks up definitions of words."""

import os

from litestar import Litestar

from services.indexer.documents.index import index_chunks
from services.indexer.documents.reindex import build_index, index_piece, prepare_all, prepare_documents, switch_index
from services.indexer.documents.vocabulary_cache import VocabularyCache
from services.indexer.retention import RETENTIONS
from services.indexer.searches.run_search import run_search
from services.indexer.settings import IndexerSettings
from services.indexer.words import lookup, word_counts
from services.indexer.words.lookup import define_words
from shared.bus import dead_letters
from shared.bus.periodic import PeriodicTask
from shared.bus.routes import on
from shared.consumer import Consumer, operations_app
from shared.contracts.commands import BuildIndex, DefineWords, IndexPiece, RunSearch, SwitchIndex
from shared.contracts.events import ChunkIndexed, ChunkLoaded, DatasetDeclared, IndexRebuilt, SearchCompleted
from shared.outgoing.http_client import OutboundClient
from shared.retention import EVERY_SECONDS, RetentionTask

ROUTES = (
    on(DatasetDeclared, prepare_documents, then=IndexPiece | IndexRebuilt),
    on(ChunkLoaded, index_chunks, then=ChunkIndexed, concurrency=2, together=400),
    on(BuildIndex, build_index, then=IndexPiece | IndexRebuilt),
    on(IndexPiece, index_piece, then=SwitchIndex, concurrency=2),
    on(SwitchIndex, switch_index, then=IndexRebuilt),
    on(RunSearch, run_search, then=SearchCompleted, concurrency=2),
    on(DefineWords, define_words, then=DefineWords),
    *dead_letters.ROUTES,
)


def build(settings: IndexerSettings) -> Litestar:
    """Returns the service's application."""
    return operations_app(
        Consumer(
            "indexer",
            ROUTES,
            settings=settings,
            dependencies={
                OutboundClient: OutboundClient(settings.source_allow, os.environ),
                VocabularyCache: VocabularyCache(),
            },
            start=prepare_all,
            periodic=(
                PeriodicTask(word_counts.run, word_counts.EVERY_SECONDS),
                PeriodicTask(lookup.run, lookup.EVERY_SECONDS),
                PeriodicTask(RetentionTask("indexer", RETENTIONS, settings).run, EVERY_SECONDS),
            ),
        )
    )
