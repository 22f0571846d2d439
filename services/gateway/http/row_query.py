"""What is asked of the rows of a dataset, read from the parameters of a request; all that is wrong is told at once."""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from services.gateway.http.problems import Detail, Problem
from shared.catalog.dataset import Dataset
from shared.search import cursors, ordering
from shared.search.columns import BadQuestion, columns, nearest
from shared.search.filters import LOGIC, Filter
from shared.search.grammar import Conditions
from shared.search.ordering import Term

OPERATORS = (
    "Fields are parameters of their own, with the operators of PostgREST: `eq neq gt gte lt lte like ilike in is`, each"
    ' negated by `not.` before it: `price=gte.10`, `category=in.(wood,"a,b")`, `category=is.null`,'
    " `available=is.true`, `name=not.ilike.*chair*` (`*` is any text). All must hold; `or=(price.lt.5,and(…))` joins"
    " otherwise, and `and=(limit.eq.5)` names a field that is called like a parameter. A missing value is found by `is`"
    " alone."
)


class Question(msgspec.Struct, frozen=True):
    """Which rows of a dataset, in which order, and which columns of them."""

    dataset: Dataset
    filters: tuple[Filter, ...] = ()
    order: tuple[Term, ...] = ()
    columns: tuple[str, ...] = ()

    def cursor(self, last: Sequence[Any]) -> str:
        """Of a page whose last row has these values of the order's fields."""
        return cursors.write(self._place(), last)

    def after(self, cursor: str) -> list[Any]:
        """The values of the last row of the page before. Raises Problem 422."""
        known = columns(self.dataset)
        try:
            return cursors.read(cursor, self._place(), [known[term.field] for term in self.order])
        except cursors.BadCursor as error:
            raise to_problem(error) from error

    def _place(self) -> Any:
        return self.dataset.name, self.filters, self.order


def to_question(
    dataset: Dataset, given: Iterable[tuple[str, str]], known: Collection[str], *, order: str | None, select: str | None
) -> Question:
    """`given` are all parameters of the request, `known` those that are no fields. Raises Problem 422."""
    asked = [(name, text) for name, text in given if name not in known]
    _refuse_unknown(dataset, {name for name, _ in asked}, known)
    wrong: list[BadQuestion] = []
    conditions = Conditions(columns(dataset))
    found: list[Filter] = []
    terms: tuple[Term, ...] = ()
    names: tuple[str, ...] = ()
    for name, text in asked:
        with _noting(wrong):
            found.append(conditions.read(name, text))
    with _noting(wrong):
        terms = ordering.read(dataset, order or "")
    with _noting(wrong):
        names = _selected(dataset, select)
    if wrong:
        others = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise Problem(
            422,
            "invalid_query",
            wrong[0].detail + others,
            hint="Operators and orders are told at /docs.",
            errors=[_detail(one) for one in wrong],
        )
    return Question(dataset, tuple(found), terms, names)


def _selected(dataset: Dataset, select: str | None) -> tuple[str, ...]:
    known = columns(dataset)
    if select is None:
        return tuple(known)
    names = tuple(name.strip() for name in select.split(","))
    for name in names:
        if name not in known:
            raise BadQuestion("select", "unknown_field", f"select: {name!r} is no field: {nearest(name, known)}")
        if names.count(name) > 1:
            raise BadQuestion("select", "twice", f"select: {name!r} is named twice.")
    return names


def _refuse_unknown(dataset: Dataset, names: set[str], known: Collection[str]) -> None:
    fields = columns(dataset)
    wrong = sorted(name for name in names if name not in fields and name not in LOGIC)
    if wrong:
        raise Problem(
            422,
            "unknown_parameter",
            f"{', '.join(wrong)}: neither a parameter of this route nor a field of {dataset.name}.",
            hint="The parameters of every route are listed at /docs, fields in GET /v1/datasets/{dataset}.",
            errors=[
                Detail(
                    code="unknown_parameter",
                    column=name,
                    detail=f"{name!r} is not known: {nearest(name, [*sorted(known), *fields])}",
                )
                for name in wrong
            ],
        )


@contextlib.contextmanager
def _noting(wrong: list[BadQuestion]) -> Iterator[None]:
    try:
        yield
    except BadQuestion as error:
        wrong.append(error)


def to_problem(error: BadQuestion) -> Problem:
    """Of something that was found wrong by itself."""
    return Problem(
        422, error.code, error.detail, hint="Operators and orders are told at /docs.", errors=[_detail(error)]
    )


def _detail(error: BadQuestion) -> Detail:
    return Detail(code=error.code, column=error.column, detail=error.detail)
