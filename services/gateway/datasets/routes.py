"""GET, PUT and POST /v1/datasets: lists, declares and infers datasets."""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, get, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import Parameter

from services.gateway.catalog import Catalog
from services.gateway.datasets import declare
from services.gateway.datasets.infer import inference
from services.gateway.datasets.infer.inference import DraftWarning
from services.gateway.datasets.infer.samples import UnreadableSample
from services.gateway.http.problems import Detail, Problem, responses
from services.gateway.http.responses import Answer
from services.gateway.uploads.charset import Encoding
from services.gateway.uploads.openapi import UploadOperation
from services.gateway.uploads.upload import open_upload
from shared.bus.relay import Relay
from shared.catalog.files import BadDeclaration, to_dataset
from shared.catalog.header import DELIMITERS
from shared.catalog.toml import to_toml
from shared.db import Pool
from shared.reads.ingestor.datasets import CatalogEntry

MAX_DECLARATION_BYTES = 256 << 10
"""A declaration is sent in a message."""
SAMPLE_BYTES = 1 << 20
RETRY_SECONDS = 1


class DatasetBody(msgspec.Struct, frozen=True):
    """A dataset; `revision` counts the changes of its declaration, `version` the changes of its rows."""

    name: str
    title: str
    revision: int
    version: int
    declaration: dict[str, Any]
    links: dict[str, str]


class Datasets(msgspec.Struct, frozen=True):
    """All datasets, sorted by name."""

    data: list[DatasetBody]


class DraftBody(msgspec.Struct, frozen=True):
    """A draft of a declaration, also as the text of a catalog file, with warnings to check before it is declared.

    `rows` is the size of the sample; `parameters` are the query parameters with which to import the file.
    """

    name: str
    declaration: dict[str, Any]
    toml: str
    warnings: list[DraftWarning]
    rows: int
    parameters: dict[str, str]


@dataclass
class DeclareOperation(Operation):
    """OpenAPI operation whose body is a declaration. The handler parses the body itself, to report all mistakes."""

    def __post_init__(self) -> None:
        """Describes the body."""
        text = Schema(type=OpenAPIType.STRING)
        fields = Schema(type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.OBJECT), min_items=1)
        body = Schema(
            type=OpenAPIType.OBJECT,
            properties={"title": text, "fields": fields},
            required=["title", "fields"],
            description="The keys of a catalog file, see docs/reference/declarations.md",
        )
        self.request_body = RequestBody(content={"application/json": OpenAPIMediaType(schema=body)}, required=True)


@get("/v1/datasets", tags=["datasets"], summary="List all datasets", opt={"scope": "read"}, responses=responses())
async def list_datasets(pool: Pool, catalog: Catalog) -> Answer[Datasets]:
    """Returns all datasets with their declarations."""
    return Answer(Datasets([_to_body(entry) for entry in (await catalog.entries(pool)).values()]))


@get(
    "/v1/datasets/{dataset:str}",
    tags=["datasets"],
    summary="Read one dataset",
    description="The `ETag` is the revision of the declaration.",
    opt={"scope": "read"},
    responses=responses(404),
)
async def read_dataset(pool: Pool, catalog: Catalog, dataset: str) -> Answer[DatasetBody]:
    """Returns one dataset with its declaration."""
    await catalog.dataset(pool, dataset)
    return _to_answer((await catalog.entries(pool))[dataset])


@put(
    "/v1/datasets/{dataset:str}",
    tags=["datasets"],
    summary="Declare or change a dataset",
    description="Creates the table, or changes it if no data is lost; otherwise the response says why not. With"
    " `If-Match` and an `ETag`, changes only the revision that you have read. The declaration survives a restart, until"
    " the dataset's file in the catalog folder changes.",
    opt={"scope": "admin"},
    request_max_body_size=MAX_DECLARATION_BYTES,
    operation_class=DeclareOperation,
    responses={
        **responses(400, 409, 412, 413, 422),
        201: ResponseSpec(data_container=DatasetBody, description="The new dataset"),
        202: ResponseSpec(data_container=DatasetBody, description="Accepted, not applied yet"),
    },
)
async def declare_dataset(
    request: Request[Any, Any, Any],
    dataset: str,
    pool: Pool,
    relay: Relay,
    catalog: Catalog,
    stopping: asyncio.Event,
    if_match: Annotated[str | None, Parameter(header="If-Match", description='A revision, such as "3"')] = None,
) -> Answer[DatasetBody]:
    """Responds when the dataset can take rows."""
    try:
        declared = to_dataset(dataset, msgspec.json.decode(await request.body()))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "invalid_json", f"The body must be a declaration as JSON: {error}.") from error
    except BadDeclaration as error:
        errors = [Detail(code="invalid", pointer=mistake.pointer, detail=mistake.detail) for mistake in error.mistakes]
        detail = f"The declaration of {dataset} can't be used: {len(errors)} mistakes."
        raise Problem(422, "invalid_declaration", detail, errors=errors) from error
    current = await catalog.latest(pool, dataset)
    declare.check(declared, current, if_match)
    if current is not None and current.dataset == declared:
        return _to_answer(current)
    follows = current.revision if current else 0
    await declare.send(pool, relay, declared, follows)
    applied = await declare.follow(pool, catalog, stopping, declared, follows)
    if applied is None:
        pending = CatalogEntry(declared, follows, current.version if current else 0)
        return _to_answer(pending, HTTPStatus.ACCEPTED)
    return _to_answer(applied, HTTPStatus.OK if current else HTTPStatus.CREATED)


@post(
    "/v1/datasets/infer",
    tags=["datasets"],
    summary="Infer a declaration from a sample",
    description="The body is the beginning of a file, at most 1 MiB, in any format that can be imported. Ambiguous"
    " columns become text; check the warnings. Nothing is stored.",
    opt={"scope": "read"},
    status_code=200,
    request_max_body_size=None,
    operation_class=UploadOperation,
    responses=responses(400, 408, 413, 415, 422),
)
async def infer(
    request: Request[Any, Any, Any],
    name: Annotated[str, Parameter(description="Name of the dataset")] = "dataset",
    delimiter: Annotated[str | None, Parameter(description="One character, or comma, semicolon, tab, pipe")] = None,
    header: Annotated[
        Literal["auto", "present", "absent"], Parameter(description="Whether the first line is a header")
    ] = "auto",
    encoding: Annotated[Encoding, Parameter(description="`auto`: from the byte order mark, else UTF-8")] = "auto",
) -> Answer[DraftBody]:
    """Returns a declaration that can be used as it is."""
    upload = await open_upload(request, encoding=encoding, limit=SAMPLE_BYTES)
    data = b"".join([piece async for piece in upload.pieces])
    character = DELIMITERS.get(delimiter or "", delimiter or (upload.media.delimiter.strip(",") or None))
    try:
        draft = await asyncio.to_thread(
            inference.infer, data, upload.media.format, name, delimiter=character, header=header
        )
    except UnreadableSample as error:
        raise Problem(422, error.code, str(error)) from error
    declaration = declare.to_declaration(draft.dataset)
    names = {character: name for name, character in DELIMITERS.items()} | {",": ""}
    sample = draft.sample
    options = {
        "header": sample.header,
        "delimiter": names.get(sample.delimiter, sample.delimiter),
        "encoding": encoding,
    }
    parameters = {name: value for name, value in options.items() if value and value != "auto"}
    return Answer(
        DraftBody(draft.dataset.name, declaration, to_toml(declaration), draft.warnings, len(sample.rows), parameters)
    )


def _to_answer(entry: CatalogEntry, status: HTTPStatus = HTTPStatus.OK) -> Answer[DatasetBody]:
    body = _to_body(entry)
    headers = {"ETag": f'"{entry.revision}"'}
    if status is not HTTPStatus.OK:
        headers["Location"] = body.links["self"]
    if status is HTTPStatus.ACCEPTED:
        headers["Retry-After"] = str(RETRY_SECONDS)
    return Answer(body, status_code=status, headers=headers)


def _to_body(entry: CatalogEntry) -> DatasetBody:
    name = entry.dataset.name
    url = f"/v1/datasets/{name}"
    links = {"self": url, "rows": f"{url}/rows", "imports": f"{url}/imports"}
    if entry.dataset.search is not None:
        links["search"] = f"{url}/search"
    if entry.dataset.partition_by is not None:
        links["partitions"] = f"{url}/partitions"
    if entry.dataset.sources:
        links |= {"sources": f"{url}/sources", "syncs": f"{url}/syncs"}
    declaration = declare.to_declaration(entry.dataset)
    return DatasetBody(name, entry.dataset.title, entry.revision, entry.version, declaration, links)
