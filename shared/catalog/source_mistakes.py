"""Finds mistakes in the sources of a dataset."""

import re
from collections.abc import Iterator

from shared.catalog import field_mistakes, jsonpath, schedule
from shared.catalog.dataset import Dataset
from shared.catalog.shape import Mistake, to_path
from shared.catalog.source import DeleteMissing, Source

VARIABLE = re.compile(r"^\$\{(SOURCE_[A-Z0-9_]+)\}(?=[/?]|$)")
"""A variable of the service's environment at the start of a URL. The rest of the URL cannot change the host."""
ABSOLUTE_URL = re.compile(r"^https?://[^/?#@\s$]+(?:[/?][^#\s$]*)?$")
HEADER_NAME = re.compile(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
RESERVED_HEADERS = frozenset(
    ("authorization", "host", "connection", "content-length", "transfer-encoding", "accept-encoding")
)
ID_TYPES = ("string", "integer", "uuid")
LARGEST_PAGE = 64 << 20
"""Bytes. Pages are held in memory."""
LONGEST_TIMEOUT = 120
"""Seconds. A page is pulled in a transaction, which Postgres ends when it is idle for ten minutes."""


def find_mistakes(dataset: Dataset) -> Iterator[Mistake]:
    """Yields the mistakes in the sources of a dataset whose fields and keys are valid."""
    names = [source.name for source in dataset.sources]
    for number, source in enumerate(dataset.sources):
        if source.name in names[:number]:
            yield Mistake(f"#/sources/{number}/name", f"source {source.name!r} is declared twice")
        for check in (_check_request, _check_limits, _check_paths, _check_paginator):
            yield from _locate(number, check(source))
        yield from _locate(number, _check_fields(source, dataset))
        if source.delete_missing:
            yield from _locate(number, _check_delete_missing(source, source.delete_missing, dataset))
        if source.schedule:
            yield from _locate(number, (("schedule", detail) for detail in schedule.find_mistakes(source.schedule)))


def _locate(number: int, details: Iterator[tuple[str, str]]) -> Iterator[Mistake]:
    for key, detail in details:
        pointer = f"#/sources/{number}/{key}"
        yield Mistake(pointer, f"{to_path(pointer)}: {detail}")


def _check_request(source: Source) -> Iterator[tuple[str, str]]:
    if not field_mistakes.NAME.match(source.name):
        yield "name", f"{source.name!r} is not a name: use a-z, 0-9 and _, beginning with a letter, 63 at most"
    variable = VARIABLE.match(source.url)
    rest = f"https://host{source.url[variable.end() :]}" if variable else source.url
    if not ABSOLUTE_URL.match(rest):
        yield "url", "must look like https://host/path or ${SOURCE_CRM}/path"
    if source.auth and not variable:
        yield "url", "must begin with a variable like ${SOURCE_CRM}: the operator decides where a secret may go"
    if source.auth and not field_mistakes.NAME.match(source.auth.secret):
        yield "auth/secret", "must be the name of a secret (a-z, 0-9 and _), never the secret itself"
    for name, value in source.headers.items():
        if name.lower() in RESERVED_HEADERS or not HEADER_NAME.match(name):
            yield "headers", f"{name!r} can't be set; use auth for secrets"
        if not value.isprintable() or not value.isascii():
            yield "headers", f"{name!r} has a value with characters other than printable ASCII"


def _check_limits(source: Source) -> Iterator[tuple[str, str]]:
    for key in ("max_pages", "max_rows", "max_seconds", "max_bytes", "timeout_seconds", "requests_per_second"):
        value = getattr(source, key)
        if value is not None and value <= 0:
            yield key, "must be more than 0"
    if source.max_bytes > LARGEST_PAGE:
        yield "max_bytes", f"must be at most {LARGEST_PAGE}"
    if source.timeout_seconds > LONGEST_TIMEOUT:
        yield "timeout_seconds", f"must be at most {LONGEST_TIMEOUT}"
    if source.requests_per_second is not None and source.requests_per_second < 1 / LONGEST_TIMEOUT:
        yield "requests_per_second", f"must be at least one in {LONGEST_TIMEOUT} seconds"
    if source.max_errors is not None and source.max_errors < 0:
        yield "max_errors", "must be 0 or more"
    if source.max_error_rate is not None and not 0 <= source.max_error_rate <= 1:
        yield "max_error_rate", "must be a share from 0 to 1"
    if source.delete_missing and not 0 <= source.delete_missing.max_shrink <= 1:
        yield "delete_missing/max_shrink", "must be a share from 0 to 1"
    if source.delete_missing and source.schedule and source.schedule.overlap == "allow":
        yield (
            "schedule/overlap",
            "must be skip with delete_missing: concurrent syncs would delete each other's rows",
        )


def _check_paths(source: Source) -> Iterator[tuple[str, str]]:
    paths = {"data_selector": source.data_selector}
    paths |= {f"fields/{name}": path for name, path in source.fields.items()}
    if source.incremental:
        paths["incremental/cursor_path"] = source.incremental.cursor_path
    paths |= {f"paginator/{key}": path for key, path in source.paginator.values("_path").items()}
    for key, path in paths.items():
        try:
            jsonpath.parse(path)
        except jsonpath.BadPath as error:
            yield key, str(error)


def _check_paginator(source: Source) -> Iterator[tuple[str, str]]:
    paginator = source.paginator
    if source.format == "text" and not paginator.reads_text:
        yield "paginator", "must be single_page or header_link: a text contains no cursor, total or link"
    for key, detail in paginator.find_mistakes():
        yield f"paginator/{key}".rstrip("/"), detail
    if source.incremental and source.incremental.start_param in paginator.values("_param").values():
        yield "incremental/start_param", "is already a parameter of the paginator"


def _check_fields(source: Source, dataset: Dataset) -> Iterator[tuple[str, str]]:
    inputs = {field.name: field for field in dataset.input_fields}
    for name in source.fields:
        if name not in inputs:
            yield f"fields/{name}", f"{name!r} is not a field that input may contain"
    if source.format == "text" and set(source.fields.values()) != {"$"}:
        yield "fields", 'must map one field to the text, like { content = "$" }'
    if source.fields:
        for field in inputs.values():
            if field.required and field.default is None and field.name not in source.fields:
                yield "fields", f"{field.name!r} is required and has no default: map it to a path"
    if source.incremental and not (dataset.primary_key and set(dataset.primary_key) <= inputs.keys()):
        yield "incremental", "needs a primary key that the source fills, or rows would be loaded twice"


def _check_delete_missing(source: Source, deletion: DeleteMissing, dataset: Dataset) -> Iterator[tuple[str, str]]:
    field = next((field for field in dataset.input_fields if field.name == deletion.id_field), None)
    if field is None or (source.fields and field.name not in source.fields):
        yield "delete_missing/id_field", f"{deletion.id_field!r} is not a field that this source fills"
    elif field.type not in ID_TYPES:
        yield "delete_missing/id_field", f"{field.name!r} is {field.type}; an id must be {' or '.join(ID_TYPES)}"
    if source.incremental:
        yield "delete_missing", "can't be combined with incremental: such a source returns only changed rows, not all"
