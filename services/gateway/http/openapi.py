"""/docs and /openapi.json: the interface, described by itself. The page needs no network: its script comes with us."""

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
    "import": "Files come in and become jobs.",
    "jobs": "What becomes of accepted work.",
    "events": "Being told instead of asking.",
    "datasets": "What this installation knows.",
    "rows": "Reading what was loaded.",
    "search": "Finding it by its words.",
    "reports": "What it adds up to.",
    "operations": "For those who run Millrace; no key needed.",
}

CONFIG = OpenAPIConfig(
    title="Millrace",
    version="1",
    summary="Files, batches and paginated APIs go in; checked rows, search, reports and announcements come out.",
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
class Asking(Operation):
    """An operation whose parameters are also the fields of a dataset, which Litestar can't know."""

    def __post_init__(self) -> None:
        """One parameter that stands for any."""
        texts = Schema(type=OpenAPIType.OBJECT, additional_properties=Schema(type=OpenAPIType.STRING))
        fields = Parameter(
            name="fields",
            param_in="query",
            schema=texts,
            style="form",
            explode=True,
            description="Conditions on fields, each a parameter of its own: `price=gte.10`",
        )
        self.parameters = [*(self.parameters or []), fields]


assets = create_static_files_router(
    ASSETS, [str(files("swagger_ui") / "static")], opt={"public": True}, include_in_schema=False
)
