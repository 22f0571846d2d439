"""The plan of a search: a query, its index, its expansion, and the time left."""

import time
from typing import Any

import msgspec

from shared.catalog.dataset import Dataset
from shared.reads.indexer.index import Index
from shared.search import limits
from shared.search.expand import Expansion
from shared.search.query import SearchQuery


class SearchPlan(msgspec.Struct, frozen=True):
    """A search query with its index and its expansion. Without an expansion, every row has the words."""

    index: Index
    dataset: Dataset
    query: SearchQuery
    expansion: Expansion | None
    started: float
    """The start of the search, by `time.monotonic`."""

    @property
    def milliseconds(self) -> int:
        """The timeout of the next statement."""
        left = self.started + limits.BUDGET_SECONDS - time.monotonic()
        return max(1, int(1000 * max(left, limits.BUDGET_SECONDS / 5)))

    @property
    def is_frequent(self) -> bool:
        """Whether a sequential scan finds enough hits sooner than the GIN index."""
        if self.expansion is None or self.index.rows <= 2 * limits.MAX_EXAMINED:
            return False
        return self.expansion.documents**2 > limits.FREQUENT_RATIO * self.index.rows

    @property
    def is_index_only(self) -> bool:
        """Whether the GIN index finds hits only, so that nothing is left to check."""
        return self.expansion is not None and self.expansion.strict == self.expansion.loose and not self.query.filters

    @property
    def known_total(self) -> int | None:
        """The number of hits, if the vocabulary knows it."""
        return self.expansion.single_word_documents if self.expansion and self.is_index_only else None

    @property
    def identity(self) -> Any:
        """Everything that determines the hits and their order, for cursors."""
        return self.dataset.name, self.query.ranking
