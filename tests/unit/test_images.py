"""The images of the docs equal those drawn now. After a change: `python -m tests.unit.test_images`."""

import csv
import datetime as dt
from collections import defaultdict
from collections.abc import Iterator

from services.gateway.reports.chart import plot
from services.gateway.reports.drawing import add_note, draw
from shared.catalog.report_files import read_reports
from tests.stack import ROOT

IMAGES = ROOT / "docs" / "images"
YEAR = 2019
COLUMNS = ("department", "job", "q1", "q2", "q3", "q4")
AT = dt.datetime(2021, 11, 7, 2, 48, 42, tzinfo=dt.UTC)


def names(dataset: str) -> dict[str, str]:
    with (ROOT / "samples" / f"{dataset}.csv").open() as file:
        return {row[0]: row[1] for row in csv.reader(file)}


def hires() -> Iterator[tuple[str, str, int]]:
    """Department, job and quarter of the good rows of the year."""
    departments, jobs = names("departments"), names("jobs")
    with (ROOT / "samples" / "hired_employees.csv").open() as file:
        for row in csv.reader(file):
            number, name, moment, department, job, *_ = [*row, "", "", "", "", ""]  # of bad ones, some lack cells
            if number and name and moment.startswith(f"{YEAR}-") and department in departments and job in jobs:
                yield departments[department], jobs[job], (int(moment[5:7]) - 1) // 3


def hires_by_quarter() -> bytes:
    (file,) = (file for file in read_reports(ROOT / "catalog") if file.name == "hires_by_quarter")
    assert file.report is not None
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * 4)
    for department, job, quarter in hires():
        counts[department, job][quarter] += 1
    rows = [(*group, *quarters) for group, quarters in sorted(counts.items())]
    title = f"{file.report.title} (year {YEAR})"
    return add_note(draw(plot(file.report.chart, COLUMNS, rows), name=file.name, title=title), AT, 1, 0)


DRAWN = {"hires_by_quarter.svg": hires_by_quarter}


def test_every_image_is_drawn_as_it_would_be_now() -> None:
    assert {path.name for path in IMAGES.iterdir()} == set(DRAWN)
    for name, draws in DRAWN.items():
        assert (IMAGES / name).read_bytes() == draws(), f"{name}: run python -m tests.unit.test_images"


def test_every_image_is_shown_and_every_one_that_is_shown_is_there() -> None:
    pages = "".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))
    for name in DRAWN:
        assert f"](../images/{name})" in pages


if __name__ == "__main__":
    for name, draws in DRAWN.items():
        (IMAGES / name).write_bytes(draws())
