"""Read singular values and the timeline from a run's folder."""

from __future__ import annotations

import math
from pathlib import Path

from alignment_api.errors import RecordNotFoundError
from alignment_api.records.schemas import SingularValues, Timeline, TimelineItem
from alignment_api.store.stored_job import StoredJob
from essa.errors import JobConflictError
from essa.parametrize.basis import BASIS_FILE
from essa.parametrize.spectrum import PARTS, read_spectrum
from essa.records.timeline import read_timeline
from essa.records.vectors import NOT_KEPT, kept_generations, read_vector
from essa.types import FloatArray

_DIGITS = 5
"""Significant digits of a relative change."""


def singular_values(job: StoredJob, run_dir: Path, generation: int | None) -> SingularValues:
    """Return how far a generation's mean is from the warm start.

    Args:
        run_dir: folder of the job's run.
        generation: the generation; None means the newest.
    Raises:
        JobConflictError: the job has no vectors, or none yet.
        RecordNotFoundError: there is no record of this generation.
    """
    if job.spec.moves_weights:
        raise JobConflictError(f"job {job.id} has no singular values of generations: {NOT_KEPT}")
    generations = kept_generations(run_dir)
    basis = run_dir / BASIS_FILE
    if not generations or not basis.exists():
        raise JobConflictError(
            f"job {job.id} is {job.status} and has no mean vectors; they are there once its search "
            "has begun"
        )
    chosen = generations[-1] if generation is None else generation
    if chosen not in generations:
        raise RecordNotFoundError(
            f"job {job.id} has no mean vector of generation {chosen}; ask for one of "
            f"{generations[0]} to {generations[-1]}",
            field="generation",
        )
    spectrum = read_spectrum(basis)
    changes = spectrum.relative_changes(read_vector(run_dir, chosen))
    return SingularValues(
        generation=chosen,
        generations=generations,
        modules=[module.name for module in spectrum.modules],
        rank=spectrum.rank,
        parts=list(PARTS[spectrum.target]),
        relative_change={
            part: [_rounded(values) for values in modules] for part, modules in changes.items()
        },
    )


def timeline(run_dir: Path, after: int, limit: int) -> Timeline:
    """Return work items with a number above `after`."""
    works = read_timeline(run_dir)
    spans = [(work, span) for work in works for span in work.spans]
    shown = spans[after + 1 : after + 1 + limit]
    return Timeline(
        engines=sorted({span.engine for _, span in spans}),
        items=[
            TimelineItem(
                n=after + 1 + place,
                kind=work.kind,
                generation=work.generation,
                **span._asdict(),
            )
            for place, (work, span) in enumerate(shown)
        ],
        has_more=len(spans) > after + 1 + limit,
    )


def _rounded(values: FloatArray) -> list[float | None]:
    return [
        float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None for value in values.tolist()
    ]
