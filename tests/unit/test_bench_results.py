"""The results table of `make bench`, and the generated rows of the load measurements."""

from pathlib import Path

import polars as pl
import pytest

from bench import hires, results
from bench.__main__ import MEASUREMENTS
from bench.results import Row


@pytest.fixture
def page(tmp_path: Path) -> Path:
    copy = tmp_path / "performance.md"
    copy.write_text(results.PAGE.read_text())
    return copy


@pytest.mark.parametrize("measurement", MEASUREMENTS)
def test_every_measurement_has_a_block_on_the_page(page: Path, measurement: str) -> None:
    results.publish(measurement, [Row("one", "1 s", 0.5)], "a machine", page)
    results.publish(measurement, [Row("another", "2 s", 0.25)], "a machine", page)
    text = page.read_text()
    assert text.count("| another |") == 1
    assert "| one " not in text


def test_publishing_changes_only_one_block(page: Path) -> None:
    for measurement in MEASUREMENTS:
        results.publish(measurement, [Row(f"row of {measurement}", "1 s")], "a machine", page)
    before = page.read_text()
    results.publish("again", [Row("changed", "1 s")], "a machine", page)
    after = page.read_text()
    assert set(before.splitlines()) - set(after.splitlines()) == {"| row of again |    1 s |       |        |"}


def test_page_without_markers_is_not_changed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- bench: load -->\n")
    with pytest.raises(ValueError, match="bench: load"):
        results.publish("load", [Row("one", "1 s")], "a machine", page)
    assert page.read_text() == "<!-- bench: load -->\n"


def test_target_says_whether_it_was_met() -> None:
    assert results.at_most(0.8, 0.8) == "≤ 0.8: met"
    assert results.at_most(151, 150, " MB") == "≤ 150 MB: MISSED"
    assert results.at_least(8, 8) == "≥ 8: met"
    assert results.at_least(7.9, 8) == "≥ 8: MISSED"


def test_every_two_hundredth_row_is_invalid_and_the_others_are_unchanged(tmp_path: Path) -> None:
    rows = 401_000
    clean, mixed = tmp_path / "clean.csv", tmp_path / "mixed.csv"
    hires.write(clean, rows, bad=False)
    hires.write(mixed, rows, bad=True)
    names = [field["name"] for field in hires.DECLARATION["fields"]]
    good, all_rows = (
        pl.read_csv(path, has_header=False, new_columns=names, infer_schema=False) for path in (clean, mixed)
    )
    assert good["id"].cast(pl.Int64).to_list() == list(range(1, rows + 1))
    invalid = all_rows.filter(pl.col("job_id").is_null() | (pl.col("hired_at") == "last spring"))
    assert invalid.height == hires.count_bad(rows) == rows // 200
    assert all_rows.join(good, on=good.columns, how="anti").height == invalid.height
