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
    """Read a comparison and validate every arm with every seed.

    Relative paths start from the folder of the file that contains them; in overrides, from the
    current folder. The result contains the whole job, so that it can be sent elsewhere.

    Args:
        path: a `.json` file, or a YAML file with any other suffix.
        overrides: settings such as `job.budget.generations=5` and `seeds=[0]`.
    Raises:
        SpecError: the file is unreadable, or a setting is invalid; `problems` in the detail has one
            entry for each.
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
