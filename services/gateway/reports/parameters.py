"""The parameters of a report, as a request gives them."""

from collections.abc import Iterable
from typing import Any

from services.gateway.http.problems import Detail, Problem
from shared.catalog.report import BadValue, Report


def read(report: Report, given: Iterable[tuple[str, str]]) -> tuple[Any, ...]:
    """In declared order. Raises Problem 422 that tells of all that is wrong."""
    known = {parameter.name for parameter in report.parameters}
    texts: dict[str, str] = {}
    wrong = []
    for name, text in given:
        if name not in known:
            detail = f"{name!r} is not a parameter of this report."
            wrong.append(Detail(code="unknown_parameter", column=name, detail=detail))
        elif name in texts:
            wrong.append(Detail(code="twice", column=name, detail=f"{name} is given more than once."))
        texts[name] = text
    values = []
    for parameter in report.parameters:
        try:
            if parameter.name in texts:
                values.append(parameter.parse(texts[parameter.name]))
            elif parameter.default is not None:
                values.append(parameter.parse_default())
            else:
                detail = f"{parameter.name} is needed."
                wrong.append(Detail(code="missing_parameter", column=parameter.name, detail=detail))
        except BadValue as error:
            wrong.append(Detail(code=error.code, column=parameter.name, detail=str(error)))
    if wrong:
        raise Problem(
            422,
            "invalid_parameters",
            f"The report can't be computed with these parameters; look at {', '.join(one.column for one in wrong)}.",
            hint=f"Parameters: {', '.join(parameter.describe() for parameter in report.parameters) or 'none'}.",
            errors=wrong,
        )
    return tuple(values)
