"""What is asked of a search, and what is answered. Both can travel in messages and be kept."""

from typing import Any, Literal

import msgspec

from shared.search.conditions import Filter
from shared.search.ordering import Term as Order


class Question(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rows with these words, that meet these filters. Without `q` and `words`, every row has them.

    `words` are exact, and joined by `operator`; of `q`, each word stands for all that share its stem. Without `order`
    the best come first. `fields` are searched, of these `highlight` is marked, and the values of `facets` are counted.
    """

    q: str = ""
    words: tuple[str, ...] = ()
    operator: Literal["and", "or"] = "and"
    fields: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    order: tuple[Order, ...] = ()
    facets: tuple[str, ...] = ()
    highlight: tuple[str, ...] = ()
    typos: bool = True
    exact_total: bool = False
    limit: int = 10
    cursor: str | None = None

    @property
    def place(self) -> Any:
        """All that decides which hits come in which order."""
        return self.q, self.words, self.operator, self.fields, self.filters, self.order, self.typos


class Hit(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row that a search found; a higher score is a better match. `highlight` is HTML, with `<mark>` around words."""

    row: dict[str, Any]
    score: float
    highlight: dict[str, list[str]] = {}


class Total(msgspec.Struct, frozen=True):
    """How many rows match: exactly (`eq`), or at least (`gte`)."""

    value: int
    relation: Literal["eq", "gte"]


class Value(msgspec.Struct, frozen=True):
    """How many hits have this value."""

    value: Any
    count: int


class Facet(msgspec.Struct, frozen=True):
    """The most frequent values of a field among the hits, and how many hits have others.

    `approximate` ones were counted among the first `counted` hits alone.
    """

    values: list[Value]
    other_count: int
    counted: int
    approximate: bool


class Correction(msgspec.Struct, frozen=True):
    """A word that is hardly known, and what was looked for beside it."""

    word: str
    corrected: list[str]


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """How the answer came about.

    Everything up to version `version` of the dataset was searched; its rows are at `dataset_version`. `words` are those
    that were looked for, so far as the dataset has them. `ranked` hits were compared to find the best. If not
    `complete`, time ran out before all rows were seen that may match, and `detail` says what that means.
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


class Found(msgspec.Struct, frozen=True):
    """The best hits first, or as ordered; equal ones in the order of the key. `next` is the cursor of the next page."""

    data: list[Hit]
    total: Total
    facets: dict[str, Facet]
    next: str | None
    meta: Meta
