"""JSON request bodies that a route decodes itself, because Litestar would require them or parse all of them."""

from typing import TypeVar

import msgspec
from litestar.openapi.spec import OpenAPIMediaType, RequestBody, Schema

from services.gateway.http.problems import Problem

T = TypeVar("T")


def describe(schema: Schema, *, required: bool) -> RequestBody:
    """Returns the OpenAPI description of the body."""
    return RequestBody(content={"application/json": OpenAPIMediaType(schema=schema)}, required=required)


def decode(body: bytes, decoder: msgspec.json.Decoder[T], expected: str) -> T:
    """Decodes the body; `expected` is the first sentence of an error. Raises Problem 400 or 422."""
    try:
        body.decode()
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Problem(422, "invalid_body", f"{expected} {error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "invalid_json", f"{expected} {error}.") from error
