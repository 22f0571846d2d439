"""GET /v1/datasets and /v1/datasets/{dataset}: what there is."""

from typing import Any

import msgspec
from litestar import get

from services.gateway.answers import Answer
from services.gateway.catalog import Catalog, Declared
from services.gateway.problems import responses
from shared.db import Pool


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


@get("/v1/datasets", tags=["datasets"], summary="All datasets", opt={"scope": "read"}, responses=responses())
async def list_datasets(pool: Pool, catalog: Catalog) -> Answer[Datasets]:
    """With their declarations."""
    return Answer(Datasets([_to_body(found) for found in (await catalog.datasets(pool)).values()]))


@get(
    "/v1/datasets/{dataset:str}",
    tags=["datasets"],
    summary="One dataset",
    opt={"scope": "read"},
    responses=responses(404),
)
async def read_dataset(pool: Pool, catalog: Catalog, dataset: str) -> Answer[DatasetBody]:
    """With its declaration."""
    await catalog.dataset(pool, dataset)
    return Answer(_to_body((await catalog.datasets(pool))[dataset]))


def _to_body(found: Declared) -> DatasetBody:
    name = found.dataset.name
    declaration = msgspec.to_builtins(found.dataset)
    declaration.pop("name")
    here = f"/v1/datasets/{name}"
    links = {"self": here, "rows": f"{here}/rows", "imports": f"{here}/imports"}
    if found.dataset.search is not None:
        links["search"] = f"{here}/search"
    return DatasetBody(name, found.dataset.title, found.revision, found.version, declaration, links)
