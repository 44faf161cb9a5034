#!/usr/bin/env python3
"""The rooms of the code and what they import: a table, then one JSON object as the last line.

A room is a folder with modules; a module that stands loose in a package's own folder is a room of
its own, since whoever enters the package passes it. An arrow leads from a room to another whose
modules it imports. Every import counts, those inside functions and methods too; only what stands
under `if TYPE_CHECKING:` does not. A cycle is a strongly connected set of rooms, or of modules. A
room's floor is the number of rooms on the longest way down from it, with cycles taken as one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import grimp
import networkx

PACKAGES = ("alignment_api", "workers", "essa", "reward")
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of the packages")
    parser.add_argument("--packages", default=",".join(PACKAGES), help="comma-separated")
    parser.add_argument("--arrows", action="store_true", help="list what each room imports")
    arguments = parser.parse_args()
    packages = tuple(arguments.packages.split(","))
    modules = import_graph(arguments.root, packages)
    rooms = room_graph(modules, packages)
    floors = floors_of(rooms)
    print("| package | rooms | floors | arrows | cycles | loose | largest room |")
    print("|---|---|---|---|---|---|---|")
    for package in packages:
        print(_row(package, rooms, floors, modules))
    found = cycles(rooms) + cycles(modules)
    for cycle in found:
        print("\ncycle:", ", ".join(cycle))
    if arguments.arrows:
        for room in sorted(rooms, key=lambda room: (-floors[room], room)):
            print(f"\n{floors[room]} {room}: {', '.join(sorted(rooms[room]))}")
    print()
    print(
        json.dumps(
            {
                "rooms": len(rooms),
                "cycles": len(found),
                "largest_cycle": max(map(len, found), default=0),
                "loose": {package: len(loose(modules, package)) for package in packages},
            }
        )
    )


def import_graph(root: Path, packages: Iterable[str]) -> networkx.DiGraph:
    """An arrow from each module to every module it imports; a package's `__init__` is a module."""
    sys.path.insert(0, str(root))
    try:
        found = grimp.build_graph(*packages, cache_dir=None, exclude_type_checking_imports=True)
    finally:
        sys.path.remove(str(root))
    graph = networkx.DiGraph()
    # A folder's `__init__` that holds nothing is no module of it.
    for module in found.modules:
        imported = found.find_modules_directly_imported_by(module)
        if imported or found.find_modules_that_directly_import(module) or _has_code(root, module):
            graph.add_node(module, package=bool(found.find_children(module)))
            graph.add_edges_from((module, other) for other in imported)
    for module in graph:
        graph.nodes[module]["package"] = bool(found.find_children(module))
    return graph


def _has_code(root: Path, module: str) -> bool:
    return root.joinpath(*module.split(".")).with_suffix(".py").exists()


def room_graph(modules: networkx.DiGraph, packages: Iterable[str]) -> networkx.DiGraph:
    """Rooms, each with its `modules`, and the arrows between them."""
    graph = networkx.DiGraph()
    for module in modules:
        room = room_of(modules, module, packages)
        graph.add_node(room)
        graph.nodes[room].setdefault("modules", []).append(module)
    for module, other in modules.edges:
        room, below = room_of(modules, module, packages), room_of(modules, other, packages)
        if room != below:
            graph.add_edge(room, below)
    return graph


def room_of(modules: networkx.DiGraph, module: str, packages: Iterable[str]) -> str:
    """The folder a module stands in, or itself where that is a package's own folder."""
    if modules.nodes[module]["package"]:
        return module
    folder = module.rpartition(".")[0]
    return module if folder in packages else folder


def cycles(graph: networkx.DiGraph) -> list[list[str]]:
    """Sets of two and more that all reach each other, largest first."""
    found = (sorted(one) for one in networkx.strongly_connected_components(graph))
    return sorted((one for one in found if len(one) > 1), key=lambda one: (-len(one), one))


def floors_of(rooms: networkx.DiGraph) -> dict[str, int]:
    """How many rooms stand below each, along the longest way down; 0 for one that imports none."""
    condensed = networkx.condensation(rooms)
    floors: dict[int, int] = {}
    for one in reversed(list(networkx.topological_sort(condensed))):
        floors[one] = max((floors[below] + 1 for below in condensed[one]), default=0)
    return {room: floors[one] for room, one in condensed.graph["mapping"].items()}


def loose(modules: networkx.DiGraph, package: str) -> list[str]:
    """Modules that stand in a package's own folder, `__init__` not counted."""
    return sorted(
        module
        for module in modules
        if module.rpartition(".")[0] == package and not modules.nodes[module]["package"]
    )


def _row(
    package: str, rooms: networkx.DiGraph, floors: dict[str, int], modules: networkx.DiGraph
) -> str:
    own = [room for room in rooms if room.split(".")[0] == package]
    inside = rooms.subgraph(own)
    levels = floors_of(inside)
    sizes = Counter({room: len(rooms.nodes[room]["modules"]) for room in own})
    [(largest, size)] = sizes.most_common(1)
    cells = (
        package,
        len(own),
        1 + max(levels.values()),
        inside.number_of_edges(),
        len(cycles(inside)),
        len(loose(modules, package)),
        f"{largest} ({size})",
    )
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
