"""Read a comparison file: YAML or JSON, plus overrides from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from essa.comparison.spec import ComparisonSpec, validate_comparison
from essa.errors import SpecError
from essa.spec.reading.file import (
    anchor_paths,
    merge_overrides,
    parse_overrides,
    read_job_file,
    read_mapping,
)
from essa.types import is_dict


def load_comparison_file(path: Path, overrides: Sequence[str] = ()) -> ComparisonSpec:
    """Read a comparison and validate it, every arm with every seed.

    Relative paths count from the file that they stand in; those in overrides from the current
    folder. The result has the job in it, so that it can be sent elsewhere.

    Args:
        path: a `.json` file, or YAML under any other name.
        overrides: `job.budget.generations=5`, `seeds=[0]` and the like.
    Raises:
        SpecError: unreadable, or with `problems` in its detail, one for each setting at fault.
    """
    start = "a comparison starts with `job:`, `arms:` and `reference:`"
    raw = read_mapping(path, "the comparison file", start)
    folder = path.absolute().parent
    job = raw.get("job")
    if isinstance(job, str):
        raw["job"] = read_job_file(folder / job)
    elif is_dict(job):
        anchor_paths(job, folder)
    for changes in _sections(raw.get("arms")):
        anchor_paths(changes, folder)
    given = parse_overrides(overrides)
    of_job = given.pop("job", {})
    if not is_dict(of_job):
        raise SpecError("--set job=... replaces the whole job; set its parts", field="job")
    anchor_paths(of_job, Path.cwd())
    for changes in _sections(given.get("arms")):
        anchor_paths(changes, Path.cwd())
    job = raw.get("job")
    if is_dict(job):
        raw["job"] = merge_overrides(job, of_job)
    return validate_comparison(merge_overrides(raw, given))


def _sections(arms: Any) -> list[dict[str, Any]]:
    return [one for one in arms.values() if is_dict(one)] if is_dict(arms) else []
