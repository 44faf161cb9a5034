"""Read a job file: YAML or JSON, plus overrides from the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from essa.errors import SpecError
from essa.spec.job import AlignmentJobSpec
from essa.spec.reading.overlay import with_default_variants
from essa.spec.reading.problem import Problem, problems_of
from essa.types import is_dict

_PATHS = (
    ("data", "train", "path"),
    ("data", "validation", "path"),
    ("data", "test", "path"),
    ("warm_start", "path"),
    ("engine", "quantization", "calibration", "path"),
)


def load_job_file(path: Path, overrides: Sequence[str] = ()) -> AlignmentJobSpec:
    """Read a job and validate it.

    Relative paths of data sets, of the warm start and of a model folder start from the job file's
    folder; in overrides, from the current folder.

    Args:
        path: a `.json` file, or a YAML file with any other suffix.
        overrides: settings such as `search.sigma_init=0.05`; the value is read as YAML.
    Raises:
        SpecError: the file is unreadable, or a setting is invalid; `problems` in the detail has one
            entry for each.
    """
    raw = read_job_file(path)
    return validate_job(merge_overrides(raw, read_overrides(overrides)))


def read_job_file(path: Path) -> dict[str, Any]:
    """Read a job from a file without validating it; relative paths start from the file's folder.

    Raises:
        SpecError: the file is unreadable or not a mapping.
    """
    raw = read_mapping(path, "the job file", "a job starts with `model:`, `data:` and `reward:`")
    anchor_paths(raw, path.absolute().parent)
    return raw


def read_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Read overrides such as `search.sigma_init=0.05`; paths start from the current folder.

    Returns:
        The overrides as a part of a job.
    Raises:
        SpecError: an override is malformed, or two conflict.
    """
    given = parse_overrides(overrides)
    anchor_paths(given, Path.cwd())
    return given


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Parse overrides such as `search.sigma_init=0.05` to nested settings, paths unchanged.

    Raises:
        SpecError: an override is malformed, or two conflict.
    """
    given: dict[str, Any] = {}
    for override in overrides:
        name, value = _split_override(override)
        _set(given, name, _Whole(value) if is_dict(value) else value)
    return given


def validate_job(raw: dict[str, Any]) -> AlignmentJobSpec:
    """Validate a job given as plain data.

    Raises:
        SpecError: a setting is invalid; `problems` in the detail has one entry for each.
    """
    try:
        return AlignmentJobSpec.model_validate(raw)
    except ValidationError as error:
        raise problem_error(problems_of(error.errors(), raw)) from error


def problem_error(problems: Sequence[Problem]) -> SpecError:
    """Return the error that carries these problems; its message has one line for each."""
    message = "\n".join(str(problem) for problem in problems)
    return SpecError(message, field=problems[0].field or None, problems=tuple(problems))


def read_mapping(path: Path, what: str, start: str) -> dict[str, Any]:
    """Read a YAML or JSON file of named settings.

    Args:
        path: a `.json` file, or a YAML file with any other suffix.
        what: name of the kind of file, for messages.
        start: example of such a file's first line, for messages.
    Raises:
        SpecError: the file is unreadable, has a name twice, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{what} {path} cannot be read: {error}") from error
    raw = _parse_json(text, path) if path.suffix == ".json" else _parse_yaml(text, str(path))
    if not is_dict(raw):
        raise SpecError(f"{path} holds {type(raw).__name__}, not a mapping; {start}")
    return raw


def _parse_json(text: str, path: Path) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _check_unique((name for name, _ in pairs), str(path))
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise SpecError(f"{path} is not valid JSON: {error}") from error


def _parse_yaml(text: str, source: str) -> Any:
    import yaml  # not needed to build a specification in Python

    # The stubs of PyYAML leave two of the methods used here untyped.
    class Loader(yaml.SafeLoader):
        """Refuses duplicate keys, and reads 1e-3 as a number, unlike YAML 1.1."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            construct = cast("Any", self).construct_object
            names = [str(construct(key, deep=True)) for key, _ in node.value]
            _check_unique(names, f"{source}, line {node.start_mark.line + 1}")
            return super().construct_mapping(node, deep)

    number = re.compile(r"[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$")
    add_resolver = cast("Any", Loader).add_implicit_resolver
    add_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise SpecError(f"{source} is not valid YAML: {error}") from error


def _check_unique(names: Iterable[str], where: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise SpecError(f"{where}: `{name}` is given twice; keep one of them", field=name)
        seen.add(name)


def _split_override(override: str) -> tuple[list[str], Any]:
    name, equals, text = override.partition("=")
    parts = [part.strip() for part in name.split(".")]
    if not equals or not all(parts):
        raise SpecError(
            f"the override {override!r} is not NAME=VALUE; write --set search.sigma_init=0.05"
        )
    return parts, _parse_yaml(text, f"the override {override!r}")


def _set(tree: dict[str, Any], names: list[str], value: Any) -> None:
    for name in names[:-1]:
        branch = tree.setdefault(name, {})
        if not is_dict(branch):
            raise SpecError(f"--set gives both {name} and {'.'.join(names)}; keep one of them")
        tree = branch
    tree[names[-1]] = value


def merge_overrides(raw: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return a job with overrides applied; see `with_default_variants`."""
    merged = with_default_variants(raw, given)
    for name, value in given.items():
        _overlay(merged, name, value)
    return merged


class _Whole(dict[str, Any]):
    """A section given as a whole, as in `reward={type: sentiment}`: it replaces the job's own."""


def _overlay(tree: dict[str, Any], name: str, value: Any) -> None:
    old = tree.get(name)
    if is_dict(value) and not isinstance(value, _Whole) and is_dict(old):
        for inner, inner_value in value.items():
            _overlay(old, inner, inner_value)
    else:
        tree[name] = value


def anchor_paths(raw: dict[str, Any], folder: Path) -> None:
    """Make relative paths in a job, or in a part of one, start from a folder; in place."""
    for place in _PATHS:
        section = _section(raw, place[:-1])
        value = section.get(place[-1])
        if isinstance(value, str) and value:
            section[place[-1]] = str(folder / value)
    model = _section(raw, ("model",))
    path = model.get("path")
    # A hub name looks like a relative path; only an existing folder counts as a path.
    if isinstance(path, str) and path and (folder / path).is_dir():
        model["path"] = str((folder / path).resolve())


def _section(raw: dict[str, Any], place: Sequence[str]) -> dict[str, Any]:
    here: Any = raw
    for name in place:
        here = here.get(name) if is_dict(here) else None
    return here if is_dict(here) else {}
