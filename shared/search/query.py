"""Search queries and search results. Both can travel in messages and be stored."""

from typing import Any, Literal

import msgspec

from shared.search.conditions import Filter
from shared.search.ordering import SortTerm


class SearchQuery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Selects the rows that have the words and meet the filters. Without `q` and `words`, all rows have the words.

    `q` has the grammar of a web search, and each of its words matches all with the same stem. `words` are exact, and
    joined by `operator`. Only `fields` are searched. Without `order`, the best hits come first. `highlight` are fields
    with marked words, `facets` fields with counted values.
    """

    q: str = ""
    words: tuple[str, ...] = ()
    operator: Literal["and", "or"] = "and"
    fields: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    order: tuple[SortTerm, ...] = ()
    facets: tuple[str, ...] = ()
    highlight: tuple[str, ...] = ()
    typos: bool = True
    exact_total: bool = False
    limit: int = 10
    cursor: str | None = None

    @property
    def ranking(self) -> Any:
        """Everything that determines the hits and their order."""
        return self.q, self.words, self.operator, self.fields, self.filters, self.order, self.typos


class Hit(msgspec.Struct, frozen=True, omit_defaults=True):
    """A matching row; a higher score is a better match. `highlight` is HTML, with `<mark>` around words."""

    row: dict[str, Any]
    score: float
    highlight: dict[str, list[str]] = {}


class Total(msgspec.Struct, frozen=True):
    """The number of matching rows: exactly (`eq`), or at least (`gte`)."""

    value: int
    relation: Literal["eq", "gte"]


class FacetValue(msgspec.Struct, frozen=True):
    """The number of hits with this value."""

    value: Any
    count: int


class Facet(msgspec.Struct, frozen=True):
    """The most frequent values of a field among the hits, and the number of hits with other values.

    An `approximate` facet covers the first `counted` hits only.
    """

    values: list[FacetValue]
    other_count: int
    counted: int
    approximate: bool


class Correction(msgspec.Struct, frozen=True):
    """A rare word, and similar words that were searched in addition."""

    word: str
    corrected: list[str]


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """The computation of the results.

    The search covers the dataset up to `version`; its rows are at `dataset_version`. `words` are the searched words
    that the dataset has. `ranked` hits were compared to find the best. If not `complete`, time ran out before all
    matching rows were seen, and `detail` explains the consequence.
    """

    version: int
    dataset_version: int
    words: list[str]
    corrections: list[Correction]
    ranked: int
    complete: bool
    seconds: float
    stale: bool = False
    detail: str = ""


class SearchResults(msgspec.Struct, frozen=True):
    """A page of hits, the best first or in the requested order; ties by key. `next` is the cursor of the next page."""

    data: list[Hit]
    total: Total
    facets: dict[str, Facet]
    next: str | None
    meta: Meta
