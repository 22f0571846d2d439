"""OpenAPI description of an upload, which Litestar can't see because the body is streamed."""

from dataclasses import dataclass

from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema

from services.gateway.uploads.media_types import ACCEPTED, FORM


@dataclass
class UploadOperation(Operation):
    """An operation whose body is a file, raw or in a form."""

    def __post_init__(self) -> None:
        """Describes the body."""
        files = {name: Schema(type=OpenAPIType.STRING, content_media_type=name) for name in ACCEPTED if name != FORM}
        form = Schema(type=OpenAPIType.OBJECT, properties={"file": files["text/csv"]}, required=["file"])
        content = {name: OpenAPIMediaType(schema=schema) for name, schema in {**files, FORM: form}.items()}
        self.request_body = RequestBody(content=content, required=True)
