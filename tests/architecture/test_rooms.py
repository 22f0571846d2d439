"""The rooms of the gateway: few, in few layers, and no feature imports another."""

import ast
from collections.abc import Mapping
from graphlib import TopologicalSorter

from tests.architecture.sources import imported, sources
from tests.stack import ROOT

GATEWAY = "services/gateway"
FEATURES = {"datasets", "failed_rows", "imports", "ops", "reports", "rows", "search", "sources"}
BELOW_FEATURES = {"jobs", "uploads", "catalog", "http", "settings"}
MOST_ROOMS = 16
MOST_LAYERS = 7

Graph = Mapping[str, set[str]]


def room(path: str) -> str:
    """Returns the folder or module directly below the gateway's."""
    return path.removeprefix(f"{GATEWAY}/").split("/")[0].removesuffix(".py")


def rooms() -> Graph:
    """Returns the rooms that each room imports."""
    graph: dict[str, set[str]] = {}
    prefix = GATEWAY.replace("/", ".") + "."
    for path in sources(GATEWAY):
        if room(path) == "__init__":
            continue
        names = [name for name in imported(ast.parse((ROOT / path).read_text())) if name.startswith(prefix)]
        others = {name.removeprefix(prefix).split(".")[0] for name in names}
        graph.setdefault(room(path), set()).update(others - {room(path)})
    return graph


def layers(graph: Graph) -> int:
    """Returns the length of the longest chain of imports. Raises CycleError."""
    heights: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():
        heights[name] = 1 + max((heights[other] for other in graph.get(name, ())), default=0)
    return max(heights.values())


def test_the_gateway_has_few_rooms_in_few_layers() -> None:
    graph = rooms()
    assert graph.keys() > FEATURES | BELOW_FEATURES
    assert len(graph) <= MOST_ROOMS, sorted(graph)
    assert layers(graph) <= MOST_LAYERS


def test_features_import_no_feature_and_nothing_below_them_imports_one() -> None:
    graph = rooms()
    assert {name: graph[name] & FEATURES for name in FEATURES | BELOW_FEATURES if graph[name] & FEATURES} == {}
