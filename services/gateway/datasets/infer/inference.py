"""Infers a dataset declaration from a sample of rows. Pure."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from services.gateway.datasets.infer import column_types, samples
from services.gateway.datasets.infer.samples import Sample, UnreadableSample
from shared.catalog import field_mistakes
from shared.catalog import header as header_check
from shared.catalog.dataset import Dataset, Field
from shared.catalog.dataset_mistakes import LONGEST_KEY, LONGEST_NAME, RESERVED
from shared.contracts.parts import Format

FEW_ROWS = 10
KEY_LENGTH = 255
KEY_NAME = re.compile(r"(?:.*_)?(?:id|key|code|uuid|guid|number|nr|sku|isbn|ean|iban)|(?:.*_)?e?_?mail(?:_address)?")
RENAMED_CODES = ("renamed_column", "duplicate_header")
KEY_TYPES = ("integer", "string", "uuid")


class DraftWarning(msgspec.Struct, frozen=True):
    """A warning about a column of the draft, or about the whole draft if `column` is empty."""

    code: str
    column: str
    detail: str


class Draft(msgspec.Struct, frozen=True):
    """A valid dataset, warnings about guesses in it, and the sample."""

    dataset: Dataset
    warnings: list[DraftWarning]
    sample: Sample


def infer(
    data: bytes,
    form: Format,
    name: str,
    *,
    delimiter: str | None = None,
    header: Literal["auto", "present", "absent"] = "auto",
) -> Draft:
    """Drafts a dataset from the beginning of a file in UTF-8. Raises UnreadableSample."""
    sample = samples.read(data, form, delimiter, header)
    draft = _draft(name, sample)
    if refused := _refused_columns(data[: header_check.WINDOW], form, draft):
        detail = f"An import refuses this file until the columns have the names of the fields: {refused}"
        draft.warnings.append(DraftWarning("header_mismatch", "", detail))
    return draft


def _refused_columns(start: bytes, form: Format, draft: Draft) -> str:
    """Returns the columns of the sample that an import would refuse, or why."""
    dataset, sample = draft.dataset, draft.sample
    try:
        if form == "csv":
            header_check.detect_csv(start, dataset, delimiter=sample.delimiter, header=sample.header or "auto")
        else:
            header_check.detect_json(start, dataset, form)
    except header_check.HeaderMismatch as error:
        return ", ".join(mismatch.column for mismatch in error.errors) or error.detail
    # Imports check the keys of the first JSON object only; the sample has more.
    renamed = {warning.detail for warning in draft.warnings if warning.code in RENAMED_CODES and not sample.header}
    return " ".join(sorted(renamed))


def _draft(name: str, sample: Sample) -> Draft:
    places = [place for place, text in enumerate(sample.names) if not text.strip().startswith("_")]
    if not places:
        raise UnreadableSample("no_columns", "The sample has no column that an import reads.")
    warnings = [*_warn_of_sample(sample), *_warn_of_names(sample)]
    inferred = []
    for place, field_name in zip(places, _names([sample.names[place] for place in places]), strict=True):
        values = [row[place] for row in sample.rows if row[place] is not None]
        column = (column_types.infer_from_text if sample.header else column_types.infer_from_json)(values)
        if column.code and sample.rows:
            warnings.append(DraftWarning(column.code, field_name, f"{field_name} {column.detail}."))
        missing = len(values) < len(sample.rows) or "" in values
        inferred.append(Field(name=field_name, type=column.kind, required=bool(sample.rows) and not missing))
    dataset_name = to_name(name, LONGEST_NAME) or "dataset"
    if dataset_name in RESERVED:
        dataset_name += "_"
    title = dataset_name.replace("_", " ").strip().capitalize()
    keyless = Dataset(name=dataset_name, title=title, fields=tuple(inferred))
    columns = {field.name: [row[place] for row in sample.rows] for field, place in zip(inferred, places, strict=True)}
    keyed = _add_key(keyless, columns)
    warnings += _warn_of_key(keyed, len(sample.rows))
    return Draft(keyed, warnings, sample)


def to_name(text: str, longest: int) -> str:
    """Converts text to a name: `Größe (cm)` is `grosse_cm`. Empty if the text has no ASCII letters or digits."""
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    if name[:1].isdigit():
        name = f"column_{name}"
    return name[:longest].rstrip("_")


def _names(texts: Sequence[str]) -> list[str]:
    """Returns a unique name for each column."""
    names: list[str] = []
    for number, text in enumerate(texts, 1):
        name = to_name(text, 60) or f"column_{number}"
        name += "_" if name in field_mistakes.SYSTEM_COLUMNS else ""
        suffix = 1
        while (unique := name if suffix == 1 else f"{name[:58]}_{suffix}") in names:
            suffix += 1
        names.append(unique)
    return names


def _warn_of_sample(sample: Sample) -> Iterator[DraftWarning]:
    count = len(sample.rows)
    if count == 0:
        yield DraftWarning("header_only", "", "The sample has no rows, so all columns are text.")
    elif count < FEW_ROWS:
        yield DraftWarning(
            "few_rows", "", f"The sample has few rows ({count}): types and keys are more reliable with more rows."
        )
    if sample.flawed:
        detail = f"Rows that can't be read: {sample.flawed}. Check quotes, number of cells and encoding."
        yield DraftWarning("flawed_rows", "", detail)
    if sample.guessed and sample.header == "present":
        yield DraftWarning(
            "header_guess", "", "The first line was read as a header, but nothing proves that it is one."
        )
    if sample.header == "absent":
        yield DraftWarning("no_header", "", "The first line is a row, so the columns are numbered: give them names.")


def _warn_of_names(sample: Sample) -> Iterator[DraftWarning]:
    texts = [text for text in sample.names if not text.strip().startswith("_")]
    for text in sample.names:
        if text.strip().startswith("_"):
            yield DraftWarning("passed_over", text, f"Imports skip columns that begin with _, such as {text!r}.")
    if sample.header == "absent":
        return
    for text, name in zip(texts, _names(texts), strict=True):
        if name != text:
            repeated = texts.count(text) > 1 or any(
                to_name(text, 60) == to_name(other, 60) for other in texts if other != text
            )
            code, reason = (
                ("duplicate_header", "occurs more than once") if repeated else ("renamed_column", "is not a valid name")
            )
            yield DraftWarning(code, name, f"{text!r} {reason}: its column is {name}.")


def _add_key(dataset: Dataset, columns: dict[str, list[Any]]) -> Dataset:
    """Returns the dataset with the first column as key that is named like one and is unique in the sample."""
    preferred = {f"{dataset.name.removesuffix('s')}_{word}" for word in ("id", "key", "code", "number")}
    ranked = sorted(dataset.fields, key=lambda field: (field.name != "id", field.name not in preferred))
    for field in ranked:
        if KEY_NAME.fullmatch(field.name) and field.required and field.type in KEY_TYPES:
            values = [_comparable(field.type, value) for value in columns[field.name]]
            longest = max(len(str(value)) for value in values)
            if len(set(values)) == len(values) and longest <= LONGEST_KEY:
                length = KEY_LENGTH if longest <= KEY_LENGTH else LONGEST_KEY
                key = msgspec.structs.replace(field, max_length=length if field.type == "string" else None)
                changed = tuple(key if other is field else other for other in dataset.fields)
                return msgspec.structs.replace(dataset, fields=changed, primary_key=(field.name,))
    return dataset


def _comparable(kind: str, value: Any) -> int | str:
    if kind == "integer":
        return int(value)
    return str(value).strip(" ").lower() if kind == "uuid" else str(value)


def _warn_of_key(dataset: Dataset, count: int) -> Iterator[DraftWarning]:
    if dataset.primary_key:
        (name,) = dataset.primary_key
        yield DraftWarning("key_guess", name, f"{name} is assumed to be the key: it is unique in all {count} rows.")
    else:
        detail = "No column looks like a key: imports only add rows, and importing a file twice adds its rows twice."
        yield DraftWarning("no_key", "", detail)
