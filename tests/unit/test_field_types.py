"""Field types: one record in the catalog and one in the ingestor are all that a type takes."""

import re
from datetime import UTC, datetime

import pytest

from services.analytics import group_keys
from services.gateway.datasets.infer.column_types import infer_from_text
from services.ingestor import ddl
from services.ingestor.parse import column_types, parser
from services.ingestor.parse.column_types import COLUMN_TYPES, ColumnType
from services.ingestor.write.binary_copy import to_copy
from shared.catalog import field_types, header
from shared.catalog.dataset import Dataset
from shared.catalog.field_types import FIELD_TYPES, FieldType
from shared.catalog.files import BadDeclaration, to_dataset
from shared.search import filters, values

CODE = re.compile("#[0-9a-fA-F]{6}")
COLOR = FieldType(
    name="color",
    sql="bytea",
    holds=lambda text: bool(CODE.fullmatch(text)),
    parse=lambda text: bytes.fromhex(text[1:]),
    expected="a color, like #ff8800",
    placeholder="''::bytea",
    distinct=True,
)
COLOR_COLUMN = ColumnType(
    lambda text, _: text.str.extract("^#([0-9a-fA-F]{6})$", 1),
    to_binary=lambda column: column.str.decode("hex"),
)
FILE = b"id,paint\n1,#FF8800\n2, #0000ff \n3,red\n"


def declare() -> Dataset:
    fields = [{"name": "id", "type": "integer", "required": True}, {"name": "paint", "type": "color"}]
    rollup = {"name": "paints", "group_by": ["paint"], "measures": {"items": "count"}}
    declaration = {"title": "Items", "fields": fields, "primary_key": ["id"], "rollups": [rollup]}
    return to_dataset("items", declaration)


def test_every_type_has_both_records() -> None:
    assert FIELD_TYPES.keys() == COLUMN_TYPES.keys()
    for name in field_types.names(decimal="decimal(5,2)"):
        assert field_types.find(name).name == field_types.find_parameter(name).name
        assert column_types.find(name) is COLUMN_TYPES[field_types.find(name).name]


@pytest.mark.parametrize("name", ["decimal", "decimal(39,2)", "decimal(2,3)", "decimal(0,0)", "int", ""])
def test_no_other_name_is_a_type(name: str) -> None:
    with pytest.raises(KeyError):
        field_types.find(name)


def test_a_type_of_two_records_can_be_declared_inferred_loaded_filtered_and_grouped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(BadDeclaration, match="type 'color'; known are"):
        declare()
    monkeypatch.setitem(FIELD_TYPES, "color", COLOR)
    monkeypatch.setitem(COLUMN_TYPES, "color", COLOR_COLUMN)
    dataset = declare()
    assert '"paint" bytea' in ddl.create_table(dataset)[0]
    assert infer_from_text(["#ff8800", "#0000FF"]).kind == "color"

    dialect = header.detect_csv(FILE, dataset, delimiter=",", header="auto")
    parsed = parser.parse(FILE.partition(b"\n")[2], dataset, dialect, line=2)
    batch = parser.build_batch(parsed, now=datetime.now(UTC))
    (failed,) = batch.failed
    assert [(error.code, error.detail) for error in failed.errors] == [("type", "Expected a color, like #ff8800.")]
    copied = b"".join(to_copy(batch.rows, dataset.fields))
    assert b"\0\0\0\3\xff\x88\0" in copied
    assert b"\0\0\0\3\0\0\xff" in copied

    parameters: list[object] = []
    condition = filters.to_sql(filters.parse(dataset, [("paint", "eq.#ff8800")]), dataset, "t", parameters)
    assert (condition, parameters) == ('(t."paint" = $1::bytea)', [b"\xff\x88\0"])
    with pytest.raises(values.InvalidValue, match="must be a color, like #ff8800"):
        values.parse("color", "red")
    assert "coalesce(a.\"paint\", ''::bytea)" in group_keys.same(dataset, dataset.rollups[0], "a", "b")
