"""Read JSONL data sets and cut them into the three sets of a job."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from essa.errors import DataError
from essa.spec.data import DatasetSpec, DataSpec
from essa.types import RenderedPrompt, Row, is_dict

Render = Callable[[Mapping[str, Any], int], RenderedPrompt]
"""(columns of a row, its line from 0) -> the prompt the model is given."""


@dataclass(frozen=True)
class JobData:
    """The three sets and remarks on how they came about."""

    train: tuple[Row, ...]
    validation: tuple[Row, ...]
    test: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def dataset_path(dataset: DatasetSpec, resolve_file: Callable[[str], Path]) -> Path:
    """Where the file of a data set is.

    Args:
        resolve_file: uploaded file id -> path.
    """
    if dataset.file_id is not None:
        return resolve_file(dataset.file_id)
    return Path(dataset.path or "").expanduser()


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read one JSON object a line; blank lines are skipped.

    Raises:
        DataError: no such file, no rows, or a line that is not a JSON object (its number is named).
    """
    return [row for _, row in read_numbered_jsonl(path)]


def read_numbered_jsonl(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Read one JSON object a line, with the number of its line from 1; blank lines are skipped.

    Raises:
        DataError: as `read_jsonl`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read data set {path}: {error.strerror}", path=str(path)) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error.reason}", path=str(path)) from error
    rows: list[tuple[int, dict[str, Any]]] = []
    # Not splitlines(): a JSON string may hold U+2028 and its like as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path} line {number} is not JSON: {error.msg}", line=number
            ) from error
        if not is_dict(row):
            raise DataError(
                f"{path} line {number} is a {type(row).__name__}, not a JSON object", line=number
            )
        rows.append((number, row))
    if not rows:
        raise DataError(f"data set {path} has no rows", path=str(path))
    return rows


def load_job_data(
    spec: DataSpec, *, seed: int, resolve: Callable[[DatasetSpec], Path], render: Render
) -> JobData:
    """Read the sets that are given and cut the missing ones from `train`.

    Cutting is deterministic in `seed`; a row belongs to exactly one set.

    Args:
        resolve: where a data set lies on disk.
        render: how a row becomes a prompt.
    Raises:
        DataError: unreadable or empty data, or too few rows to cut the missing sets.
    """
    given = {
        name: _rows(dataset, resolve, render)
        for name, dataset in (
            ("train", spec.train),
            ("validation", spec.validation),
            ("test", spec.test),
        )
        if dataset is not None
    }
    notes: list[str] = []
    train = given["train"]
    shares = {"validation": spec.validation_fraction, "test": spec.test_fraction}
    missing = [name for name in ("validation", "test") if name not in given]
    order = np.random.default_rng([seed, 0x5E7]).permutation(len(train))
    total = len(train)
    for name in missing:
        size = round(total * shares[name])
        if size < 2 or len(order) - size < 2:
            raise DataError(
                f"data.train has {total} rows: too few to cut a {name} set of "
                f"{shares[name]:.0%}; give data.{name} or more rows",
                field=f"data.{name}",
            )
        cut, order = order[:size], order[size:]
        given[name] = [train[index] for index in sorted(cut)]
        notes.append(f"no data.{name} given: {size} of {total} training rows were set aside for it")
    if missing:
        given["train"] = [train[index] for index in sorted(order)]
    notes.extend(_overlaps(given))
    return JobData(
        tuple(given["train"]), tuple(given["validation"]), tuple(given["test"]), tuple(notes)
    )


def draw_batch(
    rows: Sequence[Row], size: int, *, seed: int, generation: int, repeats: bool = False
) -> list[Row]:
    """The prompts of one generation: without replacement, afresh for each generation.

    Args:
        size: rows wanted; all rows where there are fewer.
        repeats: take rows again where there are fewer, each as often as the others or once more.
    """
    rng = np.random.default_rng([seed, 0xBA7C, generation])
    chosen = list(rng.choice(len(rows), size=min(size, len(rows)), replace=False))
    while repeats and len(chosen) < size:
        chosen.extend(rng.permutation(len(rows))[: size - len(chosen)])
    return [rows[index] for index in chosen]


def _rows(
    dataset: DatasetSpec, resolve: Callable[[DatasetSpec], Path], render: Render
) -> list[Row]:
    columns = read_jsonl(resolve(dataset))[: dataset.limit]
    rows: list[Row] = []
    for index, row in enumerate(columns):
        prompt = render(row, index)
        rows.append(Row(index, prompt.text, row, prompt.messages))
    return rows


def _overlaps(sets: Mapping[str, Sequence[Row]]) -> list[str]:
    prompts = {name: {row.prompt for row in rows} for name, rows in sets.items()}
    notes: list[str] = []
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        shared = len(prompts[first] & prompts[second])
        if shared:
            notes.append(f"{shared} prompts stand in both data.{first} and data.{second}")
    return notes
