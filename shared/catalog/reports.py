"""The reports of a catalog folder, each with its file: whatever is wrong with one is told with its line."""

import re
import tomllib
from pathlib import Path

import msgspec

from shared.catalog.files import BadDeclaration, convert
from shared.catalog.report import Report
from shared.catalog.shape import Mistake

TOML_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)")


class Flaw(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps a report from being computed. `column` is null where only the line is known; both count from 1."""

    file: str
    line: int
    column: int | None
    detail: str

    def __str__(self) -> str:
        """As compilers write it."""
        place = f"{self.line}:{self.column}" if self.column else str(self.line)
        return f"{self.file}:{place}: {self.detail}"


class ReportFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the folder, and what it declares; without a `report` there are `flaws`."""

    name: str
    file: str
    text: str
    report: Report | None = None
    flaws: tuple[Flaw, ...] = ()

    def flaw(self, pointer: str, detail: str) -> Flaw:
        """Something wrong at a JSON pointer into the declaration; of the SQL, `#/sql/12` is a character of it."""
        key, _, rest = pointer.removeprefix("#").removeprefix("/").partition("/")
        offset = None
        if key == "sql" and rest and self.report is not None and self.report.sql in self.text:
            return self._at(self.text.index(self.report.sql) + int(rest), detail)
        if key:
            offset = self._of_key(key, int(rest.partition("/")[0]) if rest[:1].isdigit() and key != "sql" else 0)
        line = self.text.count("\n", 0, offset) + 1 if offset is not None else 1
        return Flaw(file=self.file, line=line, column=None, detail=detail)

    def _at(self, offset: int, detail: str) -> Flaw:
        begin = self.text.rfind("\n", 0, offset) + 1
        line = self.text.count("\n", 0, offset) + 1
        return Flaw(file=self.file, line=line, column=offset - begin + 1, detail=detail)

    def _of_key(self, key: str, number: int) -> int | None:
        """Where a key stands; if it is a list of tables, the one of that number."""
        tables = list(re.finditer(rf"^[ \t]*\[\[?[ \t]*{re.escape(key)}[ \t]*\]\]?", self.text, re.MULTILINE))
        if tables:
            return tables[min(number, len(tables) - 1)].start()
        match = re.search(rf"""^[ \t]*["']?{re.escape(key)}["']?[ \t]*=[ \t]*""", self.text, re.MULTILINE)
        if match is None:
            return None
        inline = [one.start() for one in re.finditer(r"\{", self.text[match.end() :])]
        in_list = self.text[match.end() : match.end() + 1] == "[" and number < len(inline)
        return match.end() + inline[number] if in_list else match.start()


def read_reports(catalog: Path) -> tuple[ReportFile, ...]:
    """All of them, by name."""
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
        place = TOML_PLACE.search(str(error))
        line, column = (int(place[1]), int(place[2])) if place and place[1] else (text.count("\n") + 1, None)
        flaw = Flaw(file=file, line=line, column=column, detail=TOML_PLACE.sub("", str(error)))
        return ReportFile(name=name, file=file, text=text, flaws=(flaw,))
    bare = ReportFile(name=name, file=file, text=text)
    try:
        report = convert(name, declaration, Report)
    except BadDeclaration as error:
        return _flawed(bare, error.mistakes)
    return _flawed(msgspec.structs.replace(bare, report=report), report.mistakes())


def _flawed(found: ReportFile, mistakes: list[Mistake] | tuple[Mistake, ...]) -> ReportFile:
    flaws = tuple(found.flaw(mistake.pointer, mistake.detail) for mistake in mistakes)
    return msgspec.structs.replace(found, flaws=flaws)
