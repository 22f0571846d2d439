"""A service's tables are named by itself and by `shared/reads`, where it publishes them; all ledgers by one module."""

import ast
import re
from collections.abc import Iterator

import pytest

from shared.db.migrate import LEDGER_TABLES
from tests.architecture.sources import sources
from tests.architecture.test_ownership import OWNED
from tests.stack import ROOT

READS = "shared/reads/"
FOLDERS = ("services", "shared", "cli", "deploy")
LEDGER = "shared/bus/ledger.py"
LEDGER_TABLE = re.compile(rf"\{{\}}\.(?:{'|'.join(LEDGER_TABLES)})\b")
"""A ledger table in the schema of any service."""
SQL = re.compile(r"\b(?:SELECT|FROM|JOIN|INTO|UPDATE|USING|TABLE|EXISTS|REFERENCES)\b|::reg|to_regclass")
"""Statements write keywords in capitals, sentences do not."""


def foreign(path: str) -> set[str]:
    """Returns the schemas that the module must not name."""
    own = path.split("/")[1] if path.startswith("services/") else ""
    return set[str]().union(*(schemas for service, schemas in OWNED.items() if service != own))


def literals(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yields line and text of all strings but docstrings; `{}` stands for the expressions in an f-string."""
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            skipped |= {id(part) for part in node.values}
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.lineno, node.value


def find_tables(text: str, schemas: set[str]) -> Iterator[tuple[int, str]]:
    """Yields line and name of tables in these schemas: in SQL, and anywhere if the name is quoted or put together."""
    name = rf"(?<![\w.])(?:{'|'.join(sorted(schemas))})\.([\w\"{{%]+)"
    for line, literal in literals(ast.parse(text)):
        for match in re.finditer(name, literal):
            if SQL.search(literal) or match[1][0] in '"{%':
                yield line + literal[: match.start()].count("\n"), match[0]


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_module_names_tables_of_another_service(folder: str) -> None:
    found = [
        f"{path}:{line}: {table}"
        for path in sources(folder)
        if not path.startswith(READS)
        for line, table in find_tables((ROOT / path).read_text(), foreign(path))
    ]
    assert found == []


def test_two_modules_name_the_ledgers_of_all_services() -> None:
    found = {
        path
        for folder in FOLDERS
        for path in sources(folder)
        for _, literal in literals(ast.parse((ROOT / path).read_text()))
        if LEDGER_TABLE.search(literal)
    }
    assert found == {LEDGER, "shared/bus/open_messages.py"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('"SELECT FROM ingestor.chunks c JOIN chunks m USING (ledger)"', [(1, "ingestor.chunks")]),
        ('"""\nSELECT 1 FROM a, data.items i\nWHERE EXISTS (SELECT FROM documents.x)"""', [(2, "data.items")]),
        ('f"UPDATE rollups.{name} SET rows = 0"', [(1, "rollups.{")]),
        ("""f'data."{name}"'""", [(1, 'data."{')]),
        ("""f"data.{quote(name)}\"""", [(1, "data.{")]),
        ("""db.fetchval(f"SELECT {a + 'x'} FROM {b}", f"{'detached'}", "'ingestor.inbox'::regclass")""", None),
        ("""call("SELECT to_regclass(format('data.%I', $1::text))")""", [(1, "data.%I")]),
    ],
)
def test_a_name_in_a_statement_is_found(source: str, expected: list[tuple[int, str]] | None) -> None:
    schemas = foreign("services/indexer/made_up.py")
    assert list(find_tables(f"x = {source}", schemas)) == (expected or [(1, "ingestor.inbox")])


@pytest.mark.parametrize(
    "source",
    [
        '"SELECT FROM indexer.chunks, documents.items__1"',  # its own
        '"The rows are in `detached.hired_employees__2021` or data.DATASET."',
        'f"SELECT FROM {chunks.data.items}"',
        '"python -m services.gateway.app FROM"',
        '"SELECT FROM metadata.tables"',
        "db.fetch(gateway.jobs)",
    ],
)
def test_texts_and_own_tables_are_no_offense(source: str) -> None:
    schemas = foreign("services/indexer/made_up.py")
    assert list(find_tables(f"x = {source}", schemas)) == []
    assert list(find_tables('"""Rows FROM `ingestor.chunks`."""\nx = 1\n"""FROM data.x"""', schemas)) == []
