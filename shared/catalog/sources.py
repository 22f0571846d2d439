"""What is wrong with the sources of a dataset."""

import re
from collections.abc import Iterator

from shared.catalog import fields, jsonpath, schedule
from shared.catalog.dataset import Dataset
from shared.catalog.shape import Mistake, place
from shared.catalog.source import DeleteMissing, Source

VARIABLE = re.compile(r"^\$\{(SOURCE_[A-Z0-9_]+)\}(?=[/?]|$)")
"""Where a source is, said by who runs the ingestor. What follows it can't change the host."""
WRITTEN_OUT = re.compile(r"^https?://[^/?#@\s$]+(?:[/?][^#\s$]*)?$")
TOKEN = re.compile(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
OURS = frozenset(("authorization", "host", "connection", "content-length", "transfer-encoding", "accept-encoding"))
IDS = ("string", "integer", "uuid")
LARGEST_PAGE = 64 << 20
"""Bytes: pages are held in memory."""
LONGEST_TIMEOUT = 120
"""A page is pulled within a transaction, which the server ends after ten idle minutes."""


def mistakes(dataset: Dataset) -> Iterator[Mistake]:
    """Of a dataset whose fields and keys are good. A sentence each."""
    names = [source.name for source in dataset.sources]
    for number, source in enumerate(dataset.sources):
        if source.name in names[:number]:
            yield Mistake(f"#/sources/{number}/name", f"source {source.name!r} is declared twice")
        for found in (_of_request, _of_limits, _of_paths, _of_paginator):
            yield from _placed(number, found(source))
        yield from _placed(number, _of_fields(source, dataset))
        if source.delete_missing:
            yield from _placed(number, _of_deletion(source, source.delete_missing, dataset))
        if source.schedule:
            yield from _placed(number, (("schedule", detail) for detail in schedule.mistakes(source.schedule)))


def _placed(number: int, found: Iterator[tuple[str, str]]) -> Iterator[Mistake]:
    for key, detail in found:
        pointer = f"#/sources/{number}/{key}"
        yield Mistake(pointer, f"{place(pointer)}: {detail}")


def _of_request(source: Source) -> Iterator[tuple[str, str]]:
    if not fields.NAME.match(source.name):
        yield "name", f"{source.name!r} is not a name: use a-z, 0-9 and _, beginning with a letter, 63 at most"
    variable = VARIABLE.match(source.url)
    rest = f"https://host{source.url[variable.end() :]}" if variable else source.url
    if not WRITTEN_OUT.match(rest):
        yield "url", "must be like https://host/path, or begin with a variable, like ${SOURCE_CRM}/path"
    if source.auth and not variable:
        yield "url", "must begin with a variable, like ${SOURCE_CRM}: who runs Millrace says where a secret may go"
    if source.auth and not fields.NAME.match(source.auth.secret):
        yield "auth/secret", "is the name of a secret, of a-z, 0-9 and _, never the secret itself"
    for name, value in source.headers.items():
        if name.lower() in OURS or not TOKEN.match(name):
            yield "headers", f"{name!r} can't be set; use auth for secrets"
        if not value.isprintable() or not value.isascii():
            yield "headers", f"{name!r} has a value that is not of printable ASCII characters"


def _of_limits(source: Source) -> Iterator[tuple[str, str]]:
    for key in ("max_pages", "max_rows", "max_seconds", "max_bytes", "timeout_seconds", "requests_per_second"):
        value = getattr(source, key)
        if value is not None and value <= 0:
            yield key, "must be more than 0"
    if source.max_bytes > LARGEST_PAGE:
        yield "max_bytes", f"must be {LARGEST_PAGE} at most"
    if source.timeout_seconds > LONGEST_TIMEOUT:
        yield "timeout_seconds", f"must be {LONGEST_TIMEOUT} at most"
    if source.requests_per_second is not None and source.requests_per_second < 1 / LONGEST_TIMEOUT:
        yield "requests_per_second", f"must be at least one in {LONGEST_TIMEOUT} seconds"
    if source.max_errors is not None and source.max_errors < 0:
        yield "max_errors", "must be 0 or more"
    if source.max_error_rate is not None and not 0 <= source.max_error_rate <= 1:
        yield "max_error_rate", "is a share, from 0 to 1"
    if source.delete_missing and not 0 <= source.delete_missing.max_shrink <= 1:
        yield "delete_missing/max_shrink", "is a share, from 0 to 1"
    if source.delete_missing and source.schedule and source.schedule.overlap == "allow":
        yield "schedule/overlap", "must be skip: of two syncs at once, one would delete what the other brings"


def _of_paths(source: Source) -> Iterator[tuple[str, str]]:
    """Of those that are told, each must be one."""
    paths = {"data_selector": source.data_selector}
    paths |= {f"fields/{name}": path for name, path in source.fields.items()}
    if source.incremental:
        paths["incremental/cursor_path"] = source.incremental.cursor_path
    paths |= {f"paginator/{key}": path for key, path in source.paginator.values("_path").items()}
    for key, path in paths.items():
        try:
            jsonpath.steps(path)
        except jsonpath.BadPath as error:
            yield key, str(error)


def _of_paginator(source: Source) -> Iterator[tuple[str, str]]:
    paginator = source.paginator
    if source.format == "text" and not paginator.reads_text:
        yield "paginator", "a text has no place for cursors, totals or links: use single_page or header_link"
    for key, detail in paginator.mistakes():
        yield f"paginator/{key}".rstrip("/"), detail
    if source.incremental and source.incremental.start_param in paginator.values("_param").values():
        yield "incremental/start_param", "is a parameter of the paginator"


def _of_fields(source: Source, dataset: Dataset) -> Iterator[tuple[str, str]]:
    inputs = {field.name: field for field in dataset.input_fields}
    for name in source.fields:
        if name not in inputs:
            yield f"fields/{name}", f"{name!r} is not a field that a source can fill"
    if source.format == "text" and set(source.fields.values()) != {"$"}:
        yield "fields", 'a text needs one field that it goes into, like { content = "$" }'
    if source.fields:
        for field in inputs.values():
            if field.required and field.default is None and field.name not in source.fields:
                yield "fields", f"{field.name!r} is required, so the source must fill it"
    if source.incremental and not (dataset.primary_key and set(dataset.primary_key) <= inputs.keys()):
        yield "incremental", "needs a primary key that the source fills, or rows would come twice"


def _of_deletion(source: Source, deletion: DeleteMissing, dataset: Dataset) -> Iterator[tuple[str, str]]:
    field = next((field for field in dataset.input_fields if field.name == deletion.id_field), None)
    if field is None or (source.fields and field.name not in source.fields):
        yield "delete_missing/id_field", f"{deletion.id_field!r} is not a field that this source fills"
    elif field.type not in IDS:
        yield "delete_missing/id_field", f"{field.name!r} is {field.type}; ids are {', '.join(IDS)}"
    if source.incremental:
        yield "delete_missing", "an incremental source brings only what has changed, not what is missing"
