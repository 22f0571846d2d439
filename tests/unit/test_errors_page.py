"""docs/reference/errors.md names every code of the services, with the status of the problems, and no other."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain

from tests.architecture.sources import sources
from tests.stack import ROOT

PAGE = (ROOT / "docs" / "reference" / "errors.md").read_text()
COMPUTED = {
    *("bad_request", "method_not_allowed"),  # by the status of Litestar's own exceptions
    *("max_pages", "max_rows", "max_seconds"),  # the name of the limit
    *("waiting", "broken"),  # the state of a report
    *("duplicate_header", "renamed_column"),
}
"""Codes that are not literals where they are used."""
TREES = [ast.parse((ROOT / path).read_text()) for path in sources("services", "shared")]


def arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    return [argument.arg for argument in function.args.args if argument.arg not in ("self", "cls")]


def positions() -> dict[str, set[int]]:
    """Returns the positions of the parameter `code`, by the name of the function or class."""
    found: dict[str, set[int]] = defaultdict(set)
    for node in chain.from_iterable(map(ast.walk, TREES)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if "code" in arguments(node):
                found[name].add(arguments(node).index("code"))
            case ast.ClassDef(name=name, body=body):
                fields = [each.target.id for each in body if isinstance(each, ast.AnnAssign)]  # type: ignore[union-attr]
                constructors = [each for each in body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
                for parameters in (fields, *map(arguments, constructors)):
                    if "code" in parameters:
                        found[name].add(parameters.index("code"))
    for tree in TREES:  # exceptions inherit the constructor
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found[node.name].update(*(found[base.id] for base in node.bases if isinstance(base, ast.Name)))
    del found["__init__"]
    return found


def literals(tree: ast.Module) -> Iterator[ast.expr]:
    """Yields the expressions that a module passes as `code`, or assigns to it."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                yield from (node.args[place] for place in POSITIONS.get(name, ()) if place < len(node.args))
                yield from (keyword.value for keyword in node.keywords if keyword.arg == "code")
            case ast.arguments(kwonlyargs=names, kw_defaults=defaults):
                yield from (value for name, value in zip(names, defaults, strict=True) if name.arg == "code" and value)
            case ast.Assign(targets=[ast.Name(id="code")], value=value):
                yield value


def codes(tree: ast.Module) -> Iterator[str]:
    constants = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for value in literals(tree):
        resolved = constants.get(value.id, value) if isinstance(value, ast.Name) else value
        for choice in (resolved.body, resolved.orelse) if isinstance(resolved, ast.IfExp) else (resolved,):
            if isinstance(choice, ast.Constant) and isinstance(choice.value, str):
                yield choice.value


POSITIONS = positions()


def test_the_page_names_every_code_and_no_other() -> None:
    listed = re.findall(r"^\|(?: \d+ \|)? `(\w+)` \|", PAGE, re.MULTILINE)
    assert set(listed) == {*chain.from_iterable(map(codes, TREES)), *COMPUTED}


def test_the_page_names_the_status_of_every_problem() -> None:
    listed = re.findall(r"^\| (\d+) \| `(\w+)` \|", PAGE, re.MULTILINE)
    assert len(listed) == len(set(listed))
    raised = {
        (str(node.args[0].value), node.args[1].value)
        for node in chain.from_iterable(map(ast.walk, TREES))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Problem"
        if len(node.args) > 1 and isinstance(node.args[0], ast.Constant) and isinstance(node.args[1], ast.Constant)
    }
    assert raised - set(listed) == set()
