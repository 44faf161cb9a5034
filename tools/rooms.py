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
    parser.add_argument(
        "--picture", action="store_true", help="nothing but the rooms of each package, by floor"
    )
    arguments = parser.parse_args()
    packages = tuple(arguments.packages.split(","))
    modules = import_graph(arguments.root, packages)
    rooms = room_graph(modules, packages)
    if arguments.picture:
        print(picture(rooms, packages))
        return
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
    """An arrow from each module to every module it imports; a folder's `__init__` is one."""
    sys.path.insert(0, str(root))
    try:
        found = grimp.build_graph(*packages, cache_dir=None, exclude_type_checking_imports=True)
    finally:
        sys.path.remove(str(root))
    graph = networkx.DiGraph()
    for module in found.modules:
        graph.add_node(module, is_folder=_folder(root, module).is_dir())
        imported = found.find_modules_directly_imported_by(module)
        graph.add_edges_from((module, other) for other in imported)
    return graph


def _folder(root: Path, module: str) -> Path:
    return root.joinpath(*module.split("."))


def room_graph(modules: networkx.DiGraph, packages: Iterable[str]) -> networkx.DiGraph:
    """An arrow from each room to every room it imports. `modules` of a node: how many it has."""
    graph = networkx.DiGraph()
    for module, kind in modules.nodes.items():
        room = room_of(modules, module, packages)
        graph.add_node(room)
        graph.nodes[room].setdefault("modules", 0)
        graph.nodes[room]["modules"] += not kind["is_folder"]
    for module, other in modules.edges:
        room, below = room_of(modules, module, packages), room_of(modules, other, packages)
        if room != below:
            graph.add_edge(room, below)
    # The `__init__` of a package, and of a folder that only has folders.
    graph.remove_nodes_from([room for room, it in graph.nodes.items() if not it["modules"]])
    return graph


def room_of(modules: networkx.DiGraph, module: str, packages: Iterable[str]) -> str:
    """The folder a module stands in, or itself where that is a package's own folder."""
    if modules.nodes[module]["is_folder"]:
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


def picture(rooms: networkx.DiGraph, packages: Iterable[str]) -> str:
    """The rooms of each package, top floor first: a room may import what stands further down."""
    lines: list[str] = []
    for package in packages:
        floors = floors_of(rooms.subgraph(room for room in rooms if room.split(".")[0] == package))
        for floor in range(max(floors.values()), -1, -1):
            names = sorted(room for room, its_floor in floors.items() if its_floor == floor)
            inside = "  ".join(name.removeprefix(f"{package}.") for name in names)
            lines.append(f"{package if not lines or lines[-1] == '' else '':<15}{inside}")
        lines.append("")
    return "\n".join(lines).rstrip()


def loose(modules: networkx.DiGraph, package: str) -> list[str]:
    """Modules that stand in a package's own folder, `__init__` not counted."""
    return sorted(
        module
        for module in modules
        if module.rpartition(".")[0] == package and not modules.nodes[module]["is_folder"]
    )


def _row(
    package: str, rooms: networkx.DiGraph, floors: dict[str, int], modules: networkx.DiGraph
) -> str:
    own = [room for room in rooms if room.split(".")[0] == package]
    inside = rooms.subgraph(own)
    levels = floors_of(inside)
    sizes = Counter({room: rooms.nodes[room]["modules"] for room in own})
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
