"""What `tools/rooms.py` says of a tree, and what must be true of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[3] / "tools" / "rooms.py"
MOST_LOOSE = {"alignment_api": 5, "workers": 5, "essa": 12, "reward": 12}
MOST_MODULES = 14
NAMED_AFTER_NOTHING = {"common", "core", "helpers", "kit", "misc", "utils"}


def measure(*arguments: str) -> tuple[str, dict]:
    command = [sys.executable, str(TOOL), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    table, _, last = ended.stdout.rstrip().rpartition("\n")
    return table, json.loads(last)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Rooms `left`, `right` and `low`, and one loose module; every arrow is of another kind."""
    sources = {
        "house/__init__.py": "",
        "house/entrance.py": "from house import left\n",
        "house/left/__init__.py": "",
        "house/left/a.py": "from house.right import b\n",
        "house/right/__init__.py": "",
        "house/right/b.py": "def later():\n    import house.left.c\n",
        "house/left/c.py": "from house.low.d import one\n",
        "house/low/__init__.py": "",
        "house/low/d.py": (
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from house.left.a import b\n"
            "one = 1\n"
        ),
    }
    for name, text in sources.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_cycle_through_an_import_inside_a_function_is_found(tree) -> None:
    table, found = measure("--root", str(tree), "--packages", "house")
    assert found == {"rooms": 4, "cycles": 1, "largest_cycle": 2, "loose": {"house": 1}}
    assert "cycle: house.left, house.right" in table


def test_a_cycle_of_modules_inside_a_room_is_found(tree) -> None:
    (tree / "house/right/b.py").write_text("from house.right import e\n")
    (tree / "house/right/e.py").write_text("import house.right.b\n")
    table, found = measure("--root", str(tree), "--packages", "house")
    assert (found["cycles"], found["largest_cycle"]) == (1, 2)
    assert "cycle: house.right.b, house.right.e" in table


def test_an_import_for_type_checking_makes_no_cycle(tree) -> None:
    (tree / "house/right/b.py").write_text("")
    _, found = measure("--root", str(tree), "--packages", "house")
    assert found["cycles"] == 0


def test_our_rooms_have_no_cycle_and_few_loose_modules() -> None:
    table, found = measure()
    assert found["cycles"] == 0, table
    assert all(found["loose"][package] <= most for package, most in MOST_LOOSE.items()), found


def test_no_room_of_ours_is_crowded_or_named_after_nothing() -> None:
    root = TOOL.parents[1]
    for package in MOST_LOOSE:
        for room in (root / package).rglob("__init__.py"):
            modules = [path for path in room.parent.glob("*.py") if path != room]
            assert len(modules) <= MOST_MODULES, room.parent
            assert room.parent.name not in NAMED_AFTER_NOTHING
