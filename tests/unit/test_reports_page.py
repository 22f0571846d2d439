"""docs/guides/reports.md names every key of a report, with its default, and no other; and its example is good."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.catalog.chart import Chart
from shared.catalog.report import Parameter, Report
from shared.catalog.report_files import read_reports
from tests.stack import ROOT

PAGE = (ROOT / "docs" / "guides" / "reports.md").read_text()


def documented(heading: str) -> dict[str, str]:
    """The keys of the first table behind a heading, with their defaults."""
    section = re.split(rf"^#+ {heading}$", PAGE, flags=re.MULTILINE)[1]
    section = re.split(r"^#+ ", section, flags=re.MULTILINE)[0]
    return dict(re.findall(r"^\| `([a-z_]+)` \| ?([^|]*?) ?\|", section, re.MULTILINE))


@pytest.mark.parametrize(
    ("heading", "kind"), [("Declare a report", Report), ("Parameters", Parameter), ("Charts", Chart)]
)
def test_every_key_is_explained_and_no_other(heading: str, kind: type[msgspec.Struct]) -> None:
    expected = {}
    for field in msgspec.structs.fields(kind):
        if field.name != "name" or kind is not Report:
            default = "" if field.required or field.default in (None, "", ()) else f"`{_told(field.default)}`"
            expected[field.name] = "required" if field.required else default
    assert documented(heading) == expected


def _told(default: Any) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_the_example_can_be_declared(tmp_path: Path) -> None:
    example, chart = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert (ROOT / "catalog" / "reports" / "hires_by_quarter.toml").read_text().endswith(chart)
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "example.toml").write_text(example)
    (found,) = read_reports(tmp_path)
    assert found.flaws == ()
    assert found.report is not None
    assert tomllib.loads(example)["sql"] == found.report.sql


def test_every_report_of_the_catalog_is_named() -> None:
    for file in read_reports(ROOT / "catalog"):
        assert file.report is not None
        row = re.search(rf"^\| `{file.name}` \| (.*?) \|", PAGE, re.MULTILINE)
        assert row is not None, file.name
        assert re.findall(r"`(\w+)`", row[1]) == [parameter.name for parameter in file.report.parameters]
