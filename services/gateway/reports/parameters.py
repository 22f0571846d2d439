"""Parses the parameters of a report from the query string."""

from collections.abc import Iterable
from typing import Any

from services.gateway.http.problems import Detail, Problem
from shared.catalog.report import BadValue, Report


def parse(report: Report, pairs: Iterable[tuple[str, str]]) -> tuple[Any, ...]:
    """Returns the values in declared order. Raises Problem 422, which lists all errors."""
    names = {parameter.name for parameter in report.parameters}
    texts: dict[str, str] = {}
    errors = []
    for name, text in pairs:
        if name not in names:
            detail = f"{name!r} is not a parameter of this report."
            errors.append(Detail(code="unknown_parameter", column=name, detail=detail))
        elif name in texts:
            errors.append(Detail(code="twice", column=name, detail=f"{name} occurs more than once."))
        texts[name] = text
    values = []
    for parameter in report.parameters:
        try:
            if parameter.name in texts:
                values.append(parameter.parse(texts[parameter.name]))
            elif parameter.default is not None:
                values.append(parameter.parse_default())
            else:
                detail = f"{parameter.name} is required."
                errors.append(Detail(code="missing_parameter", column=parameter.name, detail=detail))
        except BadValue as error:
            errors.append(Detail(code=error.code, column=parameter.name, detail=str(error)))
    if errors:
        raise Problem(
            422,
            "invalid_parameters",
            f"The report can't be computed with these parameters; see {', '.join(error.column for error in errors)}.",
            hint=f"Parameters: {', '.join(parameter.describe() for parameter in report.parameters) or 'none'}.",
            errors=errors,
        )
    return tuple(values)
