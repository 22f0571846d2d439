"""Problems: error responses as RFC 9457 problem details with a stable code."""

import errno
import uuid
from typing import Any

import msgspec
import structlog
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec

from shared.db.faults import INTERFACE_ERRORS, UNAVAILABLE

log = structlog.get_logger()

SERVER_ERROR = 500
PROBLEM_TYPE = "application/problem+json"
PARAMETERS_HINT = "The parameters of every route are listed at /docs."
CODES = {400: "bad_request", 401: "unauthorized", 404: "not_found", 405: "method_not_allowed"}


class Detail(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One of several errors, with its place: a JSON pointer, a line or a column."""

    code: str
    detail: str
    pointer: str = ""
    line: int = 0
    column: str = ""


class Body(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The members of RFC 9457, and our extensions."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    hint: str = ""
    errors: list[Detail] = []
    limit_bytes: int | None = None


class Problem(Exception):
    """Raised by a route to end the request with an error response."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        hint: str = "",
        errors: list[Detail] | None = None,
        headers: dict[str, str] | None = None,
        limit_bytes: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.hint = hint
        self.errors = errors or []
        self.headers = headers or {}
        self.limit_bytes = limit_bytes


def not_found(noun: str, name: str, *, hint: str = "") -> Problem:
    """Returns a 404: there is no `noun` with this name."""
    return Problem(404, "not_found", f"There is no {noun} {name!r}.", hint=hint)


def parse_job_id(text: str) -> uuid.UUID:
    """Returns the id of a job. Raises Problem 404 for text that is no UUID."""
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise not_found("job", text, hint="GET /v1/jobs lists them.") from error


def to_response(request: Request[Any, Any, Any], error: Exception) -> Response[Body]:
    """Returns the response for any exception. It hides the details of unexpected errors, which are logged."""
    problem = _to_problem(request, error)
    request_id = str(uuid.uuid4())
    body = Body(
        type=f"https://millrace.invalid/problems/{problem.code}",
        title=problem.code.replace("_", " ").capitalize(),
        status=problem.status,
        detail=problem.detail,
        code=problem.code,
        request_id=request_id,
        hint=problem.hint,
        errors=problem.errors,
        limit_bytes=problem.limit_bytes,
    )
    if problem.status >= SERVER_ERROR:
        log.error("request failed", request_id=request_id, path=request.url.path, exc_info=error)
    return Response(body, status_code=problem.status, media_type=PROBLEM_TYPE, headers=problem.headers)


def _to_problem(request: Request[Any, Any, Any], error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case ValidationException():
            return _invalid_request(error)
        case HTTPException(status_code=404):
            return Problem(404, "not_found", f"There is nothing at {request.url.path}.", hint="All routes: /docs")
        case HTTPException(status_code=413):
            limit = request.route_handler.resolve_request_max_body_size()
            return Problem(413, "too_large", f"This route accepts a body of at most {limit} bytes.", limit_bytes=limit)
        case HTTPException() if error.status_code < SERVER_ERROR:
            return Problem(error.status_code, CODES.get(error.status_code, "error"), error.detail)
    return _server_error(error)


def _invalid_request(error: ValidationException) -> Problem:
    errors = [
        Detail(code="invalid", detail=str(extra.get("message", "")), column=str(extra.get("key", "")))
        for extra in error.extra or []
        if isinstance(extra, dict)
    ] or [Detail(code="missing_parameter", detail=error.detail)]
    names = ", ".join(detail.column for detail in errors if detail.column) or error.detail
    return Problem(422, "invalid_request", f"Invalid parameters: {names}.", hint=PARAMETERS_HINT, errors=errors)


def _server_error(error: Exception) -> Problem:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return Problem(
            507, "spool_full", "There is no disk space left for the file.", hint="An operator must free disk space."
        )
    if isinstance(error, (*UNAVAILABLE, *INTERFACE_ERRORS, TimeoutError)):
        return Problem(
            503,
            "database_away",
            "The database can't be reached, or is too busy to respond in time.",
            hint="Retry in a moment; accepted jobs are safe.",
            headers={"Retry-After": "2"},
        )
    return Problem(
        500,
        "internal_error",
        "The request failed because of an error in the gateway.",
        hint="Its log has the details under this request_id.",
    )


def responses(*statuses: int) -> dict[int, ResponseSpec]:
    """Returns the problems that a route may respond with, for its OpenAPI description."""
    return {
        status: ResponseSpec(data_container=Body, description="Problem", media_type=MediaType.JSON)
        for status in (401, 403, *statuses)
    }
