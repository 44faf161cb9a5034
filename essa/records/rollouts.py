"""Completions of a run with their scores, as Parquet: one file per evaluation.

`train-000012.parquet` holds generation 12, `validation-000012.parquet` its mean vector on the
validation set, `test.parquet` the final test. Rows are ordered by candidate, then by prompt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from essa.groups import first_prompt
from essa.storage.atomic_file import write_file
from essa.types import EvaluationKind, FloatArray, PopulationScores, Row

FOLDER = "rollouts"

TESTED_MODELS = ("base", "warm_start", "aligned")
"""Models of the final test, in the order of its rows."""

_ROW_GROUP = 4096
_NAME = re.compile(r"(?:(train|validation)-(\d+)|(test))\.parquet")


class RolloutFile(NamedTuple):
    """File of one evaluation; `generation` is None for the test."""

    path: Path
    set: EvaluationKind
    generation: int | None


def rollout_files(run_dir: Path) -> list[RolloutFile]:
    """Return all files, in the order of their evaluations."""
    found: list[RolloutFile] = []
    for path in (run_dir / FOLDER).glob("*.parquet"):
        match = _NAME.fullmatch(path.name)
        if match is not None:
            number = None if match[2] is None else int(match[2])
            kind = cast("EvaluationKind", match[1] or match[3])
            found.append(RolloutFile(path, kind, number))
    return sorted(found, key=_order)


def write_rollouts(
    run_dir: Path,
    kind: EvaluationKind,
    generation: int | None,
    rows: Sequence[Row],
    scores: PopulationScores,
    max_rows: int | None = None,
) -> None:
    """Write one evaluation, replacing an earlier file of the same evaluation.

    Args:
        run_dir: the run's folder.
        kind: kind of evaluation.
        generation: number of the generation; None for the test.
        rows: the batch that was scored.
        scores: scores of the candidates; in validation those of the mean vector, in the test those
            of `TESTED_MODELS`.
        max_rows: maximum number of completions kept: whole prompts, spread over the batch.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = _table(kind, generation, rows, scores, max_rows)
    content = pa.BufferOutputStream()
    pq.write_table(table, content, compression="zstd", row_group_size=_ROW_GROUP)
    name = kind if generation is None else f"{kind}-{generation:06d}"
    write_file(run_dir / FOLDER / f"{name}.parquet", content.getvalue())


def drop_rollouts(run_dir: Path, after: int) -> None:
    """Delete the files of generations after `after` and of the test."""
    for file in rollout_files(run_dir):
        if file.generation is None or file.generation > after:
            file.path.unlink(missing_ok=True)


def kept_pairs(candidates: int, prompts: int, max_rows: int | None) -> tuple[list[int], list[int]]:
    """Return the kept candidates and prompts: all candidates on some prompts if that fits."""
    if max_rows is None or candidates * prompts <= max_rows:
        return list(range(candidates)), list(range(prompts))
    chosen = spread(candidates, max_rows)
    return chosen, spread(prompts, max(1, max_rows // len(chosen)))


def spread(size: int, count: int) -> list[int]:
    """Return up to `count` indices spread evenly over `size` rows."""
    count = min(size, count)
    return [index * size // count for index in range(count)]


def _table(
    kind: EvaluationKind,
    generation: int | None,
    rows: Sequence[Row],
    scores: PopulationScores,
    max_rows: int | None,
) -> Any:
    import pyarrow as pa

    total, per_candidate = scores.rewards_N_P.shape
    candidates, prompts = kept_pairs(total, per_candidate, max_rows)
    count = len(candidates) * len(prompts)
    first = [first_prompt(n, total, scores.groups, per_candidate) for n in candidates]
    asked = [rows[place + prompt] for place in first for prompt in prompts]
    pairs = np.ix_(candidates, prompts)
    no_candidate = pa.nulls(count, pa.int32())
    repeated = np.repeat(np.array(candidates, dtype=np.int32), len(prompts))
    models = [TESTED_MODELS[row] if kind == "test" else None for row in repeated]
    columns = {
        "row": pa.array(np.arange(count, dtype=np.int32)),
        "set": pa.array([kind] * count),
        "generation": pa.array([generation] * count, pa.int32()),
        "candidate": pa.array(repeated) if kind == "train" else no_candidate,
        "model": pa.array(models, pa.string()),
        "prompt_index": pa.array([row.index for row in asked], pa.int32()),
        "prompt": _texts([row.written for row in asked]),
        "completion": _texts([scores.completions[n][p] for n in candidates for p in prompts]),
        "score": _numbers(scores.rewards_N_P[pairs]),
    }
    if scores.components:  # Parquet does not allow a struct without fields
        columns["components"] = pa.StructArray.from_arrays(
            [_numbers(values[pairs]) for values in scores.components.values()],
            names=list(scores.components),
        )
    return pa.table(columns)


def _numbers(values: FloatArray) -> Any:
    """Convert to an Arrow array of floats, with null for a value that is not finite."""
    import pyarrow as pa

    flat = np.asarray(values, dtype=np.float64).ravel()
    return pa.array(flat, mask=~np.isfinite(flat))


def _texts(texts: list[str]) -> Any:
    import pyarrow as pa

    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:  # half a surrogate pair, which a tokenizer may produce
        return pa.array([text.encode("utf-8", "replace").decode() for text in texts], pa.string())


def _order(file: RolloutFile) -> tuple[float, bool]:
    return (float("inf") if file.generation is None else file.generation, file.set != "train")
