"""OpenAPI: /openapi.json, and Swagger UI at /docs, whose scripts the gateway serves itself."""

from dataclasses import dataclass
from importlib.resources import files

from litestar import Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, SwaggerRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIType,
    Operation,
    Parameter,
    Schema,
    SecurityScheme,
    Tag,
)
from litestar.static_files import create_static_files_router

ASSETS = "/docs/assets"
TAGS = {
    "import": "Import files.",
    "jobs": "Follow, cancel and retry jobs; list and fix failed rows.",
    "events": "Subscribe to events instead of polling.",
    "datasets": "Declare datasets and list them.",
    "rows": "Read rows, and load small batches.",
    "search": "Full-text search.",
    "reports": "Read and refresh reports, rebuild rollups.",
    "dead letters": "List messages that were given up; redrive or discard them.",
    "operations": "Health and metrics. No API key required.",
}

CONFIG = OpenAPIConfig(
    title="Millrace",
    version="1",
    summary="Imports files, batches and paginated APIs; serves validated rows, search, reports and events.",
    openapi_router=Router(path="/", route_handlers=[], opt={"public": True}, include_in_schema=False),
    render_plugins=[
        SwaggerRenderPlugin(
            path="/docs",
            js_url=f"{ASSETS}/swagger-ui-bundle.js",
            css_url=f"{ASSETS}/swagger-ui.css",
            standalone_preset_js_url=f"{ASSETS}/swagger-ui-standalone-preset.js",
        ),
        JsonRenderPlugin(path="/openapi.json"),
    ],
    tags=[Tag(name=name, description=description) for name, description in TAGS.items()],
    components=Components(security_schemes={"key": SecurityScheme(type="http", scheme="bearer")}),
    security=[{"key": []}],
)


@dataclass
class FieldQuery(Operation):
    """An operation that also takes the fields of a dataset as parameters, which Litestar can't see."""

    def __post_init__(self) -> None:
        """Adds one parameter that stands for all fields."""
        conditions = Schema(type=OpenAPIType.OBJECT, additional_properties=Schema(type=OpenAPIType.STRING))
        filters = Parameter(
            name="filters",  # in the document only; search has a parameter `fields`
            param_in="query",
            schema=conditions,
            style="form",
            explode=True,
            description="Filters on fields, one parameter each: `price=gte.10`",
        )
        self.parameters = [*(self.parameters or []), filters]


assets = create_static_files_router(
    ASSETS, [str(files("swagger_ui") / "static")], opt={"public": True}, include_in_schema=False
)
