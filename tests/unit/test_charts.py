"""Charts: which columns of the rows they show, and the SVG."""

import datetime as dt
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from decimal import Decimal
from typing import Any

import pytest

from services.gateway.reports import drawing
from services.gateway.reports.chart import MAX_BARS, MAX_POINTS, MAX_SERIES, Plot, plot
from services.gateway.reports.drawing import COLOURS, INK, add_note, draw
from shared.catalog.chart import Chart
from tests.stack import ROOT

HIRES = ["department", "job", "q1", "q2"]
NUMBERS = ["q1", "q2"]
ROWS = [("A", "Cook", 1, 2), ("A", "Driver", 3, None), ("B", "Cook", 5, Decimal("0.5")), (None, "Cook", 7, 8)]
NOON = dt.datetime(2021, 11, 7, 12, tzinfo=dt.UTC)
NOTE = "as of 2021-11-07 12:00:00 UTC, version 1812"
SVG = "{http://www.w3.org/2000/svg}"


def shown(found: Plot) -> dict[str, list[float | None]]:
    return {series.name: series.values for series in found.series}


def drawn(chart: Chart | None, columns: list[str], rows: list[tuple[Any, ...]], **about: str) -> ET.Element:
    labels = {"name": "c", "title": "A title", **about}
    return read(add_note(draw(plot(chart, columns, rows), **labels), NOON, 1812, 0))


def read(data: bytes) -> ET.Element:
    return ET.fromstring(data)  # noqa: S314 - ours


def texts(root: ET.Element, tag: str = "text") -> list[str]:
    return ["".join(node.itertext()) for node in root.iter(f"{SVG}{tag}")]


def test_rows_with_the_same_text_are_summed_and_numbers_are_series() -> None:
    found = plot(None, HIRES, ROWS)
    assert (found.kind, found.stacked, found.x, found.y) == ("bar", False, "department", "q1, q2")
    assert found.labels == ["A", "B", "(none)"]
    assert shown(found) == {"q1": [4.0, 5.0, 7.0], "q2": [2.0, 0.5, 8.0]}


def test_what_is_declared_is_shown() -> None:
    found = plot(Chart(x="job", series=("q2",), kind="line", stacked=True), HIRES, ROWS)
    assert (found.kind, found.stacked, found.labels, found.y) == ("line", False, ["Cook", "Driver"], "q2")
    assert shown(found) == {"q2": [10.5, None]}
    assert plot(Chart(stacked=True), HIRES, ROWS).stacked


def test_a_column_may_be_split_into_series_by_another_one() -> None:
    found = plot(Chart(x="job", by="department", series=("q1",)), HIRES, ROWS)
    assert shown(found) == {"A": [1.0, 3.0], "B": [5.0, None], "(none)": [7.0, None]}
    assert found.y == "q1"


def test_ids_are_no_series_unless_requested() -> None:
    rows = [(7, "Sales", 40, 3)]
    columns = ["id", "department", "hired", "boss_id"]
    assert shown(plot(None, columns, rows)) == {"hired": [40.0]}
    assert shown(plot(Chart(series=("id",)), columns, rows)) == {"id": [7.0]}


def test_days_are_a_line_and_first_days_are_months() -> None:
    months = [(dt.date(2021, month, 1), month) for month in (1, 2)]
    found = plot(None, ["month", "n"], months)
    assert (found.kind, found.labels) == ("line", ["2021-01", "2021-02"])
    assert plot(None, ["day", "n"], [*months, (dt.date(2021, 2, 3), 1)]).labels[-1] == "2021-02-03"
    moment = dt.datetime(2021, 11, 7, 2, 48, tzinfo=dt.UTC)
    assert plot(None, ["at", "n"], [(moment, 1)]).labels == ["2021-11-07 02:48"]


def test_numbers_alone_have_the_first_column_along_the_axis() -> None:
    found = plot(None, ["year", "hires"], [(2021, 5), (2022, 6)])
    assert (found.x, found.labels, shown(found)) == ("year", ["2021", "2022"], {"hires": [5.0, 6.0]})


def test_without_numbers_rows_are_counted() -> None:
    found = plot(None, ["name", "open"], [("x", True), ("y", False), ("x", None)])
    assert (found.y, shown(found)) == ("rows", {"rows": [2.0, 1.0]})


@pytest.mark.parametrize("series", [1, 2, 4])
def test_of_too_many_bars_the_largest_stay_and_the_others_are_one(series: int) -> None:
    names = [f"n{number}" for number in range(series)]
    rows = [(f"d{number}", *(number,) * series) for number in range(100)]
    found = plot(None, ["domain", *names], rows)
    most = MAX_BARS // series
    assert len(found.labels) == most
    assert found.labels == [*(f"d{number}" for number in range(101 - most, 100)), f"and {101 - most} others"]
    assert sum(value or 0 for value in found.series[0].values) == sum(range(100))
    assert len(plot(Chart(stacked=True), ["domain", *names], rows).labels) == MAX_BARS


def test_the_largest_stay_in_the_order_of_the_rows() -> None:
    rows = [(f"d{number}", 100 - number if number % 2 else number) for number in range(60)]
    labels = plot(None, ["domain", "n"], rows).labels[:-1]
    assert labels == [name for name, _ in rows if name in labels]
    assert len(labels) == MAX_BARS - 1


def test_of_too_many_series_the_largest_stay_and_the_others_are_one() -> None:
    rows = [("x", f"w{number:02}", number) for number in range(20)]
    found = plot(Chart(x="month", by="word", series=("n",)), ["month", "word", "n"], rows)
    assert len(found.series) == MAX_SERIES
    assert found.series[-1].name == "13 others"
    assert sum(series.values[0] or 0 for series in found.series) == sum(range(20))


def test_of_too_many_days_the_last_stay_and_a_note_says_so() -> None:
    rows = [(dt.date(2020, 1, 1) + dt.timedelta(number), number) for number in range(MAX_POINTS + 50)]
    found = plot(None, ["day", "n"], rows)
    assert found.labels[-1] == str(rows[-1][0])
    assert len(found.labels) == len(found.series[0].values) == MAX_POINTS
    assert found.left_out == f"the last {MAX_POINTS} of {len(rows)}"


def test_labels_are_short_and_on_one_line() -> None:
    labels = plot(None, ["name", "n"], [("a\nb  c", 1), ("", 2), ("x" * 99, 3), (True, 4)]).labels
    assert labels == ["a b c", "(empty)", "x" * 29 + "…", "true"]


@pytest.mark.parametrize(
    ("chart", "message"),
    [
        (Chart(x="Job"), "'Job' is not a column; columns: department, job, q1, q2"),
        (Chart(series=("q1", "q9")), "'q9' is not a column"),
        (Chart(by="weather", series=("q1",)), "'weather' is not a column"),
        (Chart(x="q1", series=("q1",)), "'q1' is named twice"),
        (Chart(series=("job",)), "'job' in `series` is not numeric"),
        (Chart(by="job"), "`by` needs exactly one column in `series`"),
        (Chart(by="job", series=("q1", "q2")), "`by` needs exactly one column in `series`"),
    ],
)
def test_a_chart_that_does_not_fit_the_columns_is_reported(chart: Chart, message: str) -> None:
    (mistake,) = chart.find_mistakes(HIRES, NUMBERS)
    assert message in mistake


def test_what_fits_is_no_mistake() -> None:
    assert Chart().find_mistakes(HIRES, NUMBERS) == []
    assert Chart(kind="bar", x="job", by="department", series=("q1",), stacked=True).find_mistakes(HIRES, NUMBERS) == []


def test_title_axes_legend_and_note_are_text() -> None:
    root = drawn(Chart(x="job", series=("q1", "q2")), HIRES, ROWS, title="Hires (year 2021)", limits="some")
    assert {"Hires (year 2021)", "job", "q1, q2", "q1", "q2", "Cook", "Driver", NOTE, "Shown: some"} <= set(texts(root))
    assert (root.get("role"), root.get("width"), root.get("viewBox")) == ("img", "900", "0 0 900 480")


def test_what_a_bar_is_stands_in_its_title() -> None:
    assert {"Cook: 13", "Driver: 3", "Cook: 10.5"} <= set(texts(drawn(Chart(x="job"), HIRES, ROWS), "title"))


CASES: dict[str, tuple[Chart | None, list[str], list[tuple[Any, ...]]]] = {
    "bars": (None, HIRES, ROWS),
    "stacked": (Chart(stacked=True), HIRES, ROWS),
    "lying": (None, ["domain", "n"], [(f"a-long-name-{number}.example", number) for number in range(50)]),
    "lying and stacked": (Chart(stacked=True), ["domain", "n", "m"], [(f"d{n}", n, -n) for n in range(20)]),
    "line": (None, ["day", "n"], [(dt.date(2021, 1, 1) + dt.timedelta(n), n % 7) for n in range(90)]),
    "stacked lines": (Chart(kind="line", stacked=True), HIRES, ROWS),
    "one row": (None, ["name", "n"], [("x", 0)]),
    "nothing": (None, HIRES, []),
    "nothing declared": (Chart(x="job", by="department", series=("q1",)), HIRES, []),
    "nulls": (None, HIRES, [(None, None, None, None), ("x", "y", None, None)]),
    "large and small": (None, ["name", "n"], [("x", 10**20), ("y", Decimal("1e-9")), ("z", -(10**18))]),
    "lists, and what is no number": (
        None,
        ["tags", "n"],
        [(["a", "b"], Decimal("NaN")), (["a", "b"], 2.5), ([], None)],
    ),
    "one column": (None, ["n"], [(1,), (2,)]),
    "hostile": (None, ["<script>", "n"], [("</text><script>alert(1)</script>", 1), ("\x00\x1b&\ud800\uffff", 2)]),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_an_image_that_asks_for_nothing(case: str) -> None:
    chart, columns, rows = CASES[case]
    data = add_note(
        draw(plot(chart, columns, rows), name="c", title="<script>x</script> & \x07", limits="<b>"), NOON, 1, 2
    )
    root = read(data)
    assert {node.tag.removeprefix(SVG) for node in root.iter()} <= {
        *("svg", "defs", "style", "title", "g", "rect", "path", "text", "circle", "desc")
    }
    for node in root.iter():
        assert not [name for name in node.attrib if name.startswith("on") or "href" in name], node.attrib
    without_names = data.replace(b'xmlns="http://www.w3.org/2000/svg"', b"")
    for word in (b"http", b"url(", b"@import", b"<!--", b"<!DOCTYPE", b"<script"):
        assert word not in without_names, word
    style = "".join(texts(root, "style"))
    assert style.index("user-select:none") < style.index("user-select:text")  # the later one wins
    assert "transparent" in style


def test_an_empty_chart_says_so() -> None:
    root = drawn(None, HIRES, [])
    assert {drawing.NO_ROWS, "A title", NOTE} <= set(texts(root))


def test_the_same_rows_are_drawn_with_the_same_bytes_by_any_process() -> None:
    script = (
        "from services.gateway.reports.chart import plot; from services.gateway.reports.drawing import draw;"
        "import sys;"
        "rows = [('A', 1, 2), ('B', 2, 3)];"
        "data = draw(plot(None, ['x', 'n', 'm'], rows), name='c', title='t'); sys.stdout.buffer.write(data)"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(made) == 1
    assert b"<svg" in made.pop()


def test_charts_on_one_page_don_t_share_their_rules() -> None:
    styles = [drawn(None, HIRES, ROWS, name=name) for name in ("one", "other")]
    for root, name in zip(styles, ("one", "other"), strict=True):
        assert root.get("id") == f"chart-{name}"
        rules = re.findall(r"([^{}]+)\{", "".join(texts(root, "style")))
        assert all(part.strip().startswith(f"#chart-{name}") for rule in rules for part in rule.split(","))


@pytest.mark.parametrize("colour", [INK, *COLOURS])
@pytest.mark.parametrize("ground", ["#ffffff", "#000000"])
def test_everything_is_seen_on_white_and_on_black(colour: str, ground: str) -> None:
    """As WCAG counts: 4.5 for text, 3 for shapes."""
    lighter, darker = sorted((luminance(colour), luminance(ground)), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= (4.5 if colour == INK else 3)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_who_draws_nothing_has_not_the_library_and_who_does_stays_small() -> None:
    script = (
        "import sys, services.gateway.app; assert not [m for m in sys.modules if m.startswith('pygal')];"
        "size = lambda: int(open('/proc/self/statm').read().split()[1]) * 4096; before = size();"
        "from services.gateway.reports.chart import plot; from services.gateway.reports.drawing import draw;"
        "rows = [(f'd{n}', n, n, n, n) for n in range(1000)];"
        "[draw(plot(None, list('xabcd'), rows), name='c', title='t') for _ in range(5)];"
        "print(size() - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 25 << 20


def test_what_is_not_shown_yet_is_noted() -> None:
    drawn = draw(plot(None, HIRES, ROWS), name="c", title="t")
    assert f"{NOTE}, behind by 3</text></svg>".encode() in add_note(drawn, NOON, 1812, 3)
