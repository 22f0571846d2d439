"""/v1/datasets and /v1/datasets/{dataset}: what there is, what is to be, and drafts of it."""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, get, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import Parameter

from services.gateway.catalog import Catalog, Declared
from services.gateway.datasets import declare
from services.gateway.datasets.infer import inference
from services.gateway.datasets.infer.inference import Warned
from services.gateway.datasets.infer.samples import Unreadable
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

LARGEST_BYTES = 256 << 10
"""Of a declaration: it travels in a message."""
SAMPLE_BYTES = 1 << 20
RETRY_SECONDS = 1


class DatasetBody(msgspec.Struct, frozen=True):
    """A declaration as it stands; `revision` counts its changes, `version` the changes of its rows."""

    name: str
    title: str
    revision: int
    version: int
    declaration: dict[str, Any]
    links: dict[str, str]


class Datasets(msgspec.Struct, frozen=True):
    """By name."""

    data: list[DatasetBody]


class DraftBody(msgspec.Struct, frozen=True):
    """A declaration to start from, also as the text of a file, and what to look at before it is declared.

    `rows` were learnt from; `parameters` are those with which to import the file.
    """

    name: str
    declaration: dict[str, Any]
    toml: str
    warnings: list[Warned]
    rows: int
    parameters: dict[str, str]


@dataclass
class Declaring(Operation):
    """An operation whose body is a declaration. It is read as a whole, so that all mistakes can be told at once."""

    def __post_init__(self) -> None:
        """The description of the body."""
        text = Schema(type=OpenAPIType.STRING)
        fields = Schema(type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.OBJECT), min_items=1)
        body = Schema(
            type=OpenAPIType.OBJECT,
            properties={"title": text, "fields": fields},
            required=["title", "fields"],
            description="The keys of a catalog file, see docs/declarations.md",
        )
        self.request_body = RequestBody(content={"application/json": OpenAPIMediaType(schema=body)}, required=True)


@get("/v1/datasets", tags=["datasets"], summary="All datasets", opt={"scope": "read"}, responses=responses())
async def list_datasets(pool: Pool, catalog: Catalog) -> Answer[Datasets]:
    """With their declarations."""
    return Answer(Datasets([_to_body(found) for found in (await catalog.datasets(pool)).values()]))


@get(
    "/v1/datasets/{dataset:str}",
    tags=["datasets"],
    summary="One dataset",
    description="The `ETag` is the revision of its declaration.",
    opt={"scope": "read"},
    responses=responses(404),
)
async def read_dataset(pool: Pool, catalog: Catalog, dataset: str) -> Answer[DatasetBody]:
    """With its declaration."""
    await catalog.dataset(pool, dataset)
    return _to_answer((await catalog.datasets(pool))[dataset])


@put(
    "/v1/datasets/{dataset:str}",
    tags=["datasets"],
    summary="Declare a dataset, or change one",
    description="Makes its table, or changes it where that loses nothing; otherwise the answer tells why not. With"
    " `If-Match` and an `ETag`, only what you have seen is changed. What is declared here outlives a restart, until the"
    " file of the dataset in the catalog folder changes.",
    opt={"scope": "admin"},
    request_max_body_size=LARGEST_BYTES,
    operation_class=Declaring,
    responses={
        **responses(400, 409, 412, 413, 422),
        201: ResponseSpec(data_container=DatasetBody, description="Declared; there was none of that name"),
        202: ResponseSpec(data_container=DatasetBody, description="Accepted, and not applied yet"),
    },
)
async def declare_dataset(
    request: Request[Any, Any, Any],
    dataset: str,
    pool: Pool,
    relay: Relay,
    catalog: Catalog,
    stopping: asyncio.Event,
    if_match: Annotated[str | None, Parameter(header="If-Match", description='A revision, as "3"')] = None,
) -> Answer[DatasetBody]:
    """Ready for rows when it is answered."""
    try:
        wanted = to_dataset(dataset, msgspec.json.decode(await request.body()))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "invalid_json", f"The body must be a declaration as JSON: {error}.") from error
    except BadDeclaration as error:
        errors = [Detail(code="invalid", pointer=one.pointer, detail=one.detail) for one in error.mistakes]
        detail = f"The declaration of {dataset} can't be used: {len(errors)} mistakes."
        raise Problem(422, "invalid_declaration", detail, errors=errors) from error
    standing = await catalog.standing(pool, dataset)
    declare.check(wanted, standing, if_match)
    if standing is not None and standing.dataset == wanted:
        return _to_answer(standing)
    follows = standing.revision if standing else 0
    await declare.send(pool, relay, wanted, follows)
    declared = await declare.follow(pool, catalog, stopping, wanted, follows)
    if declared is None:
        awaited = Declared(wanted, follows, standing.version if standing else 0)
        return _to_answer(awaited, HTTPStatus.ACCEPTED)
    return _to_answer(declared, HTTPStatus.OK if standing else HTTPStatus.CREATED)


@post(
    "/v1/datasets/infer",
    tags=["datasets"],
    summary="Draft a declaration from a sample",
    description="The body is the beginning of a file, of 1 MiB at most, in any form that can be imported. What is"
    " ambiguous stays text, and the warnings tell what to look at. Nothing is kept.",
    opt={"scope": "read"},
    status_code=200,
    request_max_body_size=None,
    operation_class=UploadOperation,
    responses=responses(400, 408, 413, 415, 422),
)
async def infer(
    request: Request[Any, Any, Any],
    name: Annotated[str, Parameter(description="What the dataset is to be called")] = "dataset",
    delimiter: Annotated[
        str | None, Parameter(description="Between cells: one character, or comma, semicolon, tab, pipe")
    ] = None,
    header: Annotated[
        Literal["auto", "present", "absent"], Parameter(description="Whether the first line names the columns")
    ] = "auto",
    encoding: Annotated[Encoding, Parameter(description="`auto`: by the byte order mark, else UTF-8")] = "auto",
) -> Answer[DraftBody]:
    """A declaration that can be put as it is."""
    upload = await open_upload(request, encoding=encoding, limit=SAMPLE_BYTES)
    data = b"".join([piece async for piece in upload.pieces])
    mark = DELIMITERS.get(delimiter or "", delimiter or (upload.media.delimiter.strip(",") or None))
    try:
        draft = await asyncio.to_thread(inference.infer, data, upload.media.format, name, delimiter=mark, header=header)
    except Unreadable as error:
        raise Problem(422, error.code, str(error)) from error
    declaration = declare.to_declaration(draft.dataset)
    names = {",": "", **{mark: word for word, mark in DELIMITERS.items() if mark != ","}}
    found = draft.sample.delimiter
    told = {"header": draft.sample.header, "delimiter": names.get(found, found), "encoding": encoding}
    parameters = {key: value for key, value in told.items() if value and value != "auto"}
    return Answer(
        DraftBody(
            draft.dataset.name, declaration, to_toml(declaration), draft.warnings, len(draft.sample.rows), parameters
        )
    )


def _to_answer(found: Declared, status: HTTPStatus = HTTPStatus.OK) -> Answer[DatasetBody]:
    body = _to_body(found)
    headers = {"ETag": f'"{found.revision}"'}
    if status is not HTTPStatus.OK:
        headers["Location"] = body.links["self"]
    if status is HTTPStatus.ACCEPTED:
        headers["Retry-After"] = str(RETRY_SECONDS)
    return Answer(body, status_code=status, headers=headers)


def _to_body(found: Declared) -> DatasetBody:
    name = found.dataset.name
    here = f"/v1/datasets/{name}"
    links = {"self": here, "rows": f"{here}/rows", "imports": f"{here}/imports"}
    if found.dataset.search is not None:
        links["search"] = f"{here}/search"
    if found.dataset.partition_by is not None:
        links["partitions"] = f"{here}/partitions"
    if found.dataset.sources:
        links |= {"sources": f"{here}/sources", "syncs": f"{here}/syncs"}
    declaration = declare.to_declaration(found.dataset)
    return DatasetBody(name, found.dataset.title, found.revision, found.version, declaration, links)
