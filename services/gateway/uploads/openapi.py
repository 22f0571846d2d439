"""How the API's description shows an upload: Litestar does not see the body, since it is streamed."""

from dataclasses import dataclass

from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema

from services.gateway.uploads.media_types import ACCEPTED, FORM


@dataclass
class Upload(Operation):
    """An operation whose body is a file, raw or in a form."""

    def __post_init__(self) -> None:
        """The description of the body."""
        files = {kind: Schema(type=OpenAPIType.STRING, content_media_type=kind) for kind in ACCEPTED if kind != FORM}
        form = Schema(type=OpenAPIType.OBJECT, properties={"file": files["text/csv"]}, required=["file"])
        content = {kind: OpenAPIMediaType(schema=schema) for kind, schema in {**files, FORM: form}.items()}
        self.request_body = RequestBody(content=content, required=True)
