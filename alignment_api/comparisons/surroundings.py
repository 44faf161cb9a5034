"""Versions and data behind a comparison, read from the folders of its runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from essa.comparison.report.report import Surroundings
from essa.records.folder import PROVENANCE_FILE


def surroundings_of(
    command: str, run_dirs: Mapping[str, Path], notes: Sequence[str] = ()
) -> Surroundings:
    """Read versions and data of the runs; runs that have not started are left out.

    Args:
        command: shell command that makes the report again.
        run_dirs: run folders, by a readable name.
        notes: additional sentences for the report.
    """
    found = {name: _read(folder / PROVENANCE_FILE) for name, folder in run_dirs.items()}
    versions: dict[str, dict[str, list[str]]] = {}
    data: dict[str, dict[str, list[str]]] = {}
    for run, provenance in found.items():
        for package, version in provenance.get("versions", {}).items():
            versions.setdefault(package, {}).setdefault(version, []).append(run)
        for one in provenance.get("data", ()):
            name = f"{one['set']}: {one['name']}"
            data.setdefault(name, {}).setdefault(one["sha256"], []).append(run)
        base = provenance.get("base")
        if base:
            data.setdefault(f"model: {base['name']}", {}).setdefault(base["digest"], []).append(run)
    return Surroundings(
        command=command, versions=_merged(versions), data=_merged(data), notes=tuple(notes)
    )


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _merged(found: Mapping[str, Mapping[str, Sequence[str]]]) -> dict[str, str]:
    """Merge values: one value if all runs agree, else each value with the runs that have it."""
    return {
        name: next(iter(values))
        if len(values) == 1
        else "; ".join(f"{value} ({', '.join(runs)})" for value, runs in values.items())
        for name, values in sorted(found.items())
    }
