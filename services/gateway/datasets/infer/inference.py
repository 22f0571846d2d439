"""A declaration to start from, drafted from a sample of rows. Pure."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from services.gateway.datasets.infer import column_types, samples
from services.gateway.datasets.infer.samples import Sample, Unreadable
from shared.catalog import fields
from shared.catalog import header as judge
from shared.catalog.dataset import Dataset, Field
from shared.catalog.dataset_mistakes import LONGEST_KEY, LONGEST_NAME, RESERVED
from shared.contracts.parts import Format

FEW_ROWS = 10
USUAL_LENGTH = 255
LIKE_A_KEY = re.compile(r"(?:.*_)?(?:id|key|code|uuid|guid|number|nr|sku|isbn|ean|iban)|(?:.*_)?e?_?mail(?:_address)?")
RENAMED = ("renamed_column", "duplicate_header")
KEY_TYPES = ("integer", "string", "uuid")


class Warned(msgspec.Struct, frozen=True):
    """Something to look at before the draft is declared; without a column, it is about all of it."""

    code: str
    column: str
    detail: str


class Draft(msgspec.Struct, frozen=True):
    """A dataset without mistakes, why it may still be wrong, and how the sample was read."""

    dataset: Dataset
    warnings: list[Warned]
    sample: Sample


def infer(
    data: bytes,
    form: Format,
    name: str,
    *,
    delimiter: str | None = None,
    header: Literal["auto", "present", "absent"] = "auto",
) -> Draft:
    """From the beginning of a file, in UTF-8. Raises Unreadable if there is nothing to learn from."""
    sample = samples.read(data, form, delimiter, header)
    drafted = _draft(name, sample)
    if refused := _refused(data[: judge.WINDOW], form, drafted):
        detail = f"An import refuses this file until its columns have the names of the fields: {refused}"
        drafted.warnings.append(Warned("header_mismatch", "", detail))
    return drafted


def _refused(start: bytes, form: Format, drafted: Draft) -> str:
    """What an import says against the columns of the sample."""
    dataset, sample = drafted.dataset, drafted.sample
    try:
        if form == "csv":
            judge.detect_csv(start, dataset, delimiter=sample.delimiter, header=sample.header or "auto")
        else:
            judge.detect_json(start, dataset, form)
    except judge.HeaderMismatch as error:
        return ", ".join(wrong.column for wrong in error.errors) or error.detail
    # Only the first keys of JSON are judged at once.
    renamed = {warned.detail for warned in drafted.warnings if warned.code in RENAMED and not sample.header}
    return " ".join(sorted(renamed))


def _draft(name: str, sample: Sample) -> Draft:
    places = [place for place, text in enumerate(sample.names) if not text.strip().startswith("_")]
    if not places:
        raise Unreadable("no_columns", "The sample has no columns that an import would not pass over.")
    warnings = [*_of_sample(sample), *_of_names(sample)]
    found = []
    for place, field_name in zip(places, _names([sample.names[place] for place in places]), strict=True):
        values = [row[place] for row in sample.rows if row[place] is not None]
        column = column_types.of_texts(values) if sample.header else column_types.of_values(values)
        if column.code and sample.rows:
            warnings.append(Warned(column.code, field_name, f"{field_name} {column.detail}."))
        missing = len(values) < len(sample.rows) or "" in values
        found.append(Field(name=field_name, type=column.kind, required=bool(sample.rows) and not missing))
    dataset_name = to_name(name, LONGEST_NAME) or "dataset"
    if dataset_name in RESERVED:
        dataset_name += "_"
    title = dataset_name.replace("_", " ").strip().capitalize()
    plain = Dataset(name=dataset_name, title=title, fields=tuple(found))
    columns = {field.name: [row[place] for row in sample.rows] for field, place in zip(found, places, strict=True)}
    keyed = _keyed(plain, columns)
    warnings += _of_key(keyed, len(sample.rows))
    return Draft(keyed, warnings, sample)


def to_name(text: str, longest: int) -> str:
    """`Größe (cm)` is `grosse_cm`; empty for what has neither letters nor digits of the alphabet."""
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    if name[:1].isdigit():
        name = f"column_{name}"
    return name[:longest].rstrip("_")


def _names(texts: Sequence[str]) -> list[str]:
    """A name of its own for each column."""
    names: list[str] = []
    for number, text in enumerate(texts, 1):
        name = to_name(text, 60) or f"column_{number}"
        name += "_" if name in fields.TAKEN else ""
        again = 1
        while (own := name if again == 1 else f"{name[:58]}_{again}") in names:
            again += 1
        names.append(own)
    return names


def _of_sample(sample: Sample) -> Iterator[Warned]:
    count = len(sample.rows)
    if count == 0:
        yield Warned("header_only", "", "The sample has no rows, so all columns are text.")
    elif count < FEW_ROWS:
        yield Warned(
            "few_rows", "", f"The sample has few rows ({count}): types and keys are seen better in more of them."
        )
    if sample.flawed:
        detail = f"Rows that can't be read: {sample.flawed}. Their quotes, number of cells or encoding are wrong."
        yield Warned("flawed_rows", "", detail)
    if sample.guessed and sample.header == "present":
        yield Warned("header_guess", "", "The first line was taken for a header, though nothing proves that it is one.")
    if sample.header == "absent":
        yield Warned("no_header", "", "The first line is a row, so the columns are only numbered: give them names.")


def _of_names(sample: Sample) -> Iterator[Warned]:
    texts = [text for text in sample.names if not text.strip().startswith("_")]
    for text in sample.names:
        if text.strip().startswith("_"):
            yield Warned("passed_over", text, f"Imports pass over columns that begin with _, as {text!r}.")
    if sample.header == "absent":
        return
    for text, name in zip(texts, _names(texts), strict=True):
        if name != text:
            again = texts.count(text) > 1 or any(to_name(text, 60) == to_name(o, 60) for o in texts if o != text)
            code, what = ("duplicate_header", "occurs more than once") if again else ("renamed_column", "is no name")
            yield Warned(code, name, f"{text!r} {what}: its column is {name}.")


def _keyed(plain: Dataset, columns: dict[str, list[Any]]) -> Dataset:
    """With the first column as its key that looks like one and has a value of its own in every row."""
    own = {f"{plain.name.removesuffix('s')}_{word}" for word in ("id", "key", "code", "number")}
    ranked = sorted(plain.fields, key=lambda field: (field.name != "id", field.name not in own))
    for field in ranked:
        if LIKE_A_KEY.fullmatch(field.name) and field.required and field.type in KEY_TYPES:
            values = [_comparable(field.type, value) for value in columns[field.name]]
            longest = max(len(str(value)) for value in values)
            if len(set(values)) == len(values) and longest <= LONGEST_KEY:
                length = USUAL_LENGTH if longest <= USUAL_LENGTH else LONGEST_KEY
                key = msgspec.structs.replace(field, max_length=length if field.type == "string" else None)
                kept = tuple(key if one is field else one for one in plain.fields)
                return msgspec.structs.replace(plain, fields=kept, primary_key=(field.name,))
    return plain


def _comparable(kind: str, value: Any) -> int | str:
    if kind == "integer":
        return int(value)
    return str(value).strip(" ").lower() if kind == "uuid" else str(value)


def _of_key(dataset: Dataset, count: int) -> Iterator[Warned]:
    if dataset.primary_key:
        (name,) = dataset.primary_key
        yield Warned("key_guess", name, f"{name} is taken for the key: it is different in each of the {count} rows.")
    else:
        detail = "No column looks like a key: rows are only added, and a file that comes twice is in it twice."
        yield Warned("no_key", "", detail)
