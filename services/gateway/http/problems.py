"""Errors as clients see them: RFC 9457 problem details with a stable code."""

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

OUR_FAULT = 500
PROBLEM_TYPE = "application/problem+json"
PARAMETERS = "What each parameter may be is told at /docs."
CODES = {400: "bad_request", 401: "unauthorized", 404: "not_found", 405: "method_not_allowed"}


class Detail(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One of several things that are wrong: where, and what."""

    code: str
    detail: str
    pointer: str = ""
    line: int = 0
    column: str = ""


class Body(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A problem, as RFC 9457 has it, with members of ours."""

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
    """Ends a request with a problem."""

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


def not_found(what: str, name: str, *, hint: str = "") -> Problem:
    """There is no such thing."""
    return Problem(404, "not_found", f"There is no {what} {name!r}.", hint=hint)


def to_job_id(text: str) -> uuid.UUID:
    """Raises Problem 404 for what can't be one."""
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise not_found("job", text, hint="GET /v1/jobs lists them.") from error


def to_response(request: Request[Any, Any, Any], error: Exception) -> Response[Body]:
    """Whatever went wrong in a request, as a problem. Of an unexpected error only the request's id is told."""
    problem = _to_problem(request, error)
    number = str(uuid.uuid4())
    body = Body(
        type=f"https://millrace.invalid/problems/{problem.code}",
        title=problem.code.replace("_", " ").capitalize(),
        status=problem.status,
        detail=problem.detail,
        code=problem.code,
        request_id=number,
        hint=problem.hint,
        errors=problem.errors,
        limit_bytes=problem.limit_bytes,
    )
    if problem.status >= OUR_FAULT:
        log.error("request failed", request_id=number, path=request.url.path, exc_info=error)
    return Response(body, status_code=problem.status, media_type=PROBLEM_TYPE, headers=problem.headers)


def _to_problem(request: Request[Any, Any, Any], error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case ValidationException():
            return _of_parameters(error)
        case HTTPException(status_code=404):
            return Problem(404, "not_found", f"There is nothing at {request.url.path}.", hint="All routes: /docs")
        case HTTPException(status_code=413):
            limit = request.route_handler.resolve_request_max_body_size()
            return Problem(413, "too_large", f"A body has at most {limit} bytes here.", limit_bytes=limit)
        case HTTPException():
            return Problem(error.status_code, CODES.get(error.status_code, "error"), error.detail)
    return _of_fault(error)


def _of_parameters(error: ValidationException) -> Problem:
    errors = [
        Detail(code="invalid", detail=str(wrong.get("message", "")), column=str(wrong.get("key", "")))
        for wrong in error.extra or []
        if isinstance(wrong, dict)
    ] or [Detail(code="missing_parameter", detail=error.detail)]
    names = ", ".join(wrong.column for wrong in errors if wrong.column) or error.detail
    return Problem(422, "invalid_request", f"These parameters can't be used: {names}.", hint=PARAMETERS, errors=errors)


def _of_fault(error: Exception) -> Problem:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return Problem(507, "spool_full", "There is no room for the file.", hint="An operator must free space.")
    if isinstance(error, (*UNAVAILABLE, *INTERFACE_ERRORS, TimeoutError)):
        return Problem(
            503,
            "database_away",
            "The database can't be reached, or is too busy to answer in time.",
            hint="Try again in a moment; what was accepted is safe.",
            headers={"Retry-After": "2"},
        )
    return Problem(
        500,
        "internal_error",
        "The request failed through a fault of the gateway.",
        hint="Its log has the details under this request_id.",
    )


def responses(*statuses: int) -> dict[int, ResponseSpec]:
    """The problems that a route may answer with, for its OpenAPI description."""
    return {
        status: ResponseSpec(data_container=Body, description="Problem", media_type=MediaType.JSON)
        for status in (401, 403, *statuses)
    }
