"""Reads the reports of a catalog folder from `reports/<name>.toml`, and locates errors by line and column."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from shared.catalog.files import BadDeclaration, convert
from shared.catalog.report import Report
from shared.catalog.shape import Mistake

TOML_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)")


class Flaw(msgspec.Struct, frozen=True, kw_only=True):
    """An error in a report's file. Lines and columns count from 1; `column` is null if only the line is known."""

    file: str
    line: int
    column: int | None
    detail: str

    def __str__(self) -> str:
        """Returns `file:line:column: detail`, like compilers do."""
        position = f"{self.line}:{self.column}" if self.column else str(self.line)
        return f"{self.file}:{position}: {self.detail}"


class ReportFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file and the report that it declares. `report` is None if the file has flaws in its syntax or shape."""

    name: str
    file: str
    text: str
    report: Report | None = None
    flaws: tuple[Flaw, ...] = ()

    def build_flaw(self, pointer: str, detail: str) -> Flaw:
        """Returns a flaw at a JSON pointer into the declaration; `#/sql/12` is an offset in the SQL."""
        key, _, rest = pointer.removeprefix("#").removeprefix("/").partition("/")
        offset = None
        if key == "sql" and rest and self.report is not None and self.report.sql in self.text:
            return self._build_flaw_at(self.text.index(self.report.sql) + int(rest), detail)
        if key:
            offset = self._find_key(key, int(rest.partition("/")[0]) if rest[:1].isdigit() and key != "sql" else 0)
        line = self.text.count("\n", 0, offset) + 1 if offset is not None else 1
        return Flaw(file=self.file, line=line, column=None, detail=detail)

    def _build_flaw_at(self, offset: int, detail: str) -> Flaw:
        begin = self.text.rfind("\n", 0, offset) + 1
        line = self.text.count("\n", 0, offset) + 1
        return Flaw(file=self.file, line=line, column=offset - begin + 1, detail=detail)

    def _find_key(self, key: str, number: int) -> int | None:
        """Returns the offset of a key; of a list of tables, that of the given item."""
        tables = list(re.finditer(rf"^[ \t]*\[\[?[ \t]*{re.escape(key)}[ \t]*\]\]?", self.text, re.MULTILINE))
        if tables:
            return tables[min(number, len(tables) - 1)].start()
        match = re.search(rf"""^[ \t]*["']?{re.escape(key)}["']?[ \t]*=[ \t]*""", self.text, re.MULTILINE)
        if match is None:
            return None
        braces = [brace.start() for brace in re.finditer(r"\{", self.text[match.end() :])]
        is_list = self.text[match.end() : match.end() + 1] == "[" and number < len(braces)
        return match.end() + braces[number] if is_list else match.start()


def read_reports(catalog: Path) -> tuple[ReportFile, ...]:
    """Returns all reports, sorted by name."""
    return tuple(_read(path, catalog) for path in sorted((catalog / "reports").glob("*.toml")))


def _read(path: Path, catalog: Path) -> ReportFile:
    name, file = path.stem, str(path.relative_to(catalog.parent))
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        flaw = Flaw(file=file, line=1, column=None, detail=f"the file can't be read: {error}")
        return ReportFile(name=name, file=file, text="", flaws=(flaw,))
    try:
        declaration = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        position = TOML_POSITION.search(str(error))
        line, column = (
            (int(position[1]), int(position[2])) if position and position[1] else (text.count("\n") + 1, None)
        )
        flaw = Flaw(file=file, line=line, column=column, detail=TOML_POSITION.sub("", str(error)))
        return ReportFile(name=name, file=file, text=text, flaws=(flaw,))
    report_file = ReportFile(name=name, file=file, text=text)
    try:
        report = convert(name, declaration, Report)
    except BadDeclaration as error:
        return _with_flaws(report_file, error.mistakes)
    return _with_flaws(msgspec.structs.replace(report_file, report=report), report.find_mistakes())


def _with_flaws(report_file: ReportFile, mistakes: Sequence[Mistake]) -> ReportFile:
    flaws = tuple(report_file.build_flaw(mistake.pointer, mistake.detail) for mistake in mistakes)
    return msgspec.structs.replace(report_file, flaws=flaws)
