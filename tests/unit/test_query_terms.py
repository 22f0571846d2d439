"""Load options of a request: the defaults, and the options that a dataset does not allow."""

from typing import Any

import pytest

from services.gateway.http.problems import Problem
from services.gateway.imports.load_options import parse_load_options
from shared.catalog.dataset import Dataset, Field
from shared.contracts.parts import LoadOptions, Mode

FIELDS = (Field(name="id", type="integer", required=True),)
KEYED = Dataset(name="people", title="People", fields=FIELDS, primary_key=("id",))
KEYLESS = Dataset(name="visits", title="Visits", fields=FIELDS)


def test_by_default_rows_are_updated_where_there_is_a_key_and_added_where_there_is_none() -> None:
    assert parse_load_options(KEYED, None) == LoadOptions(mode="upsert")
    assert parse_load_options(KEYLESS, None) == LoadOptions(mode="append")


@pytest.mark.parametrize(
    ("dataset", "mode", "code"),
    [(KEYLESS, "upsert", "mode_needs_key"), (KEYLESS, "insert", "mode_needs_key"), (KEYED, "append", "mode_refused")],
)
def test_a_mode_that_does_not_fit_is_refused_with_what_to_use_instead(dataset: Dataset, mode: Mode, code: str) -> None:
    with pytest.raises(Problem) as problem:
        parse_load_options(dataset, mode)
    assert (problem.value.status, problem.value.code) == (422, code)
    assert problem.value.hint.startswith("Use ")
    assert dataset.name in problem.value.detail


@pytest.mark.parametrize(
    ("dataset", "mode"),
    [(KEYED, "upsert"), (KEYED, "insert"), (KEYED, "replace"), (KEYLESS, "append"), (KEYLESS, "replace")],
)
def test_a_mode_that_fits_is_taken(dataset: Dataset, mode: Mode) -> None:
    assert parse_load_options(dataset, mode).mode == mode


@pytest.mark.parametrize(
    ("options", "max_errors"),
    [({}, 0), ({"max_errors": 3}, 3), ({"max_error_rate": 0.1}, None), ({"max_errors": None}, 0)],
)
def test_a_replacement_takes_no_bad_row_unless_an_option_allows_it(
    options: dict[str, Any], max_errors: int | None
) -> None:
    assert parse_load_options(KEYED, "replace", **options).max_errors == max_errors
    assert parse_load_options(KEYED, "upsert", **options).max_errors == options.get("max_errors")
