"""Costs of whole runs, from their events: time by activity, tokens, memory and a few details."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from essa.comparison.history import AXES, RunHistory
from essa.comparison.spread import Spread, ratio, ratio_spread, spread
from essa.events import StepEvent

PARTS = ("rollout_s", "reward_s", "train_s", "coordinator_s")
"""Fields of an event that say on what the seconds of a generation were spent."""


@dataclass(frozen=True)
class RunCost:
    """Costs of one run, excluding its warm start.

    Attributes:
        total: use by axis, from the job's start to its end.
        parts: seconds of all generations, by activity (`PARTS`).
        other_s: the rest of the wall-clock time: model load, gate, ladder, validation, test.
        peak_bytes: peak host memory of the job.
        peak_ratio: peak host memory of the reference arm over this run's.
        answer_words: mean number of words in the kept test answers of the aligned model.
        shown: last values of the methods' own metrics, such as `kl` and `distance`.
    """

    arm: str
    seed: int
    is_final: bool
    generations: int | None
    total: dict[str, float | None]
    parts: dict[str, float | None]
    other_s: float | None
    generated_tokens: float | None
    peak_bytes: float | None
    peak_ratio: float | None
    answer_words: float | None
    shown: dict[str, float]


@dataclass(frozen=True)
class ArmCost:
    """Costs of one arm over its seeds; fields as in `RunCost`."""

    arm: str
    total: dict[str, Spread | None]
    parts: dict[str, Spread | None]
    other_s: Spread | None
    generations: Spread | None
    generated_tokens: Spread | None
    peak_bytes: Spread | None
    peak_ratio: Spread | None
    answer_words: Spread | None
    shown: dict[str, Spread | None]


def run_costs(runs: Sequence[RunHistory], reference: str) -> list[RunCost]:
    """Return the costs of every run; ratios refer to the reference arm's run of the same seed."""
    peaks = {run.seed: _peak(run) for run in runs if run.arm == reference}
    return [_cost(run, peaks.get(run.seed)) for run in runs]


def costs_over_seeds(found: Sequence[RunCost]) -> list[ArmCost]:
    """Return one entry per arm, over its finished runs."""
    by_arm: dict[str, list[RunCost]] = {}
    for one in found:
        of_arm = by_arm.setdefault(one.arm, [])
        if one.is_final:
            of_arm.append(one)
    return [_arm(arm, of_arm) for arm, of_arm in by_arm.items()]


def _cost(run: RunHistory, reference_peak: float | None) -> RunCost:
    steps = run.generations
    total = {axis: getattr(run.total, axis) for axis in AXES}
    parts: dict[str, float | None] = {
        part: sum(getattr(step, part) for step in steps) if steps else None for part in PARTS
    }
    spent_s = sum(value for value in parts.values() if value is not None)
    wall_s = run.total.wall_s
    peak = _peak(run)
    return RunCost(
        arm=run.arm,
        seed=run.seed,
        is_final=run.result is not None,
        generations=steps[-1].generation if steps else None,
        total=total,
        parts=parts,
        other_s=None if wall_s is None or not steps else max(0.0, wall_s - spent_s),
        generated_tokens=float(sum(step.generated_tokens for step in steps)) if steps else None,
        peak_bytes=peak,
        peak_ratio=ratio(reference_peak, peak),
        answer_words=_answer_words(run),
        shown=_shown(run),
    )


def _peak(run: RunHistory) -> float | None:
    peak = None if run.result is None else run.result.host_peak_bytes
    return None if peak is None else float(peak)


def _answer_words(run: RunHistory) -> float | None:
    answers = [] if run.result is None else [one.aligned for one in run.result.samples]
    return sum(len(text.split()) for text in answers) / len(answers) if answers else None


def _shown(run: RunHistory) -> dict[str, float]:
    if not run.generations:
        return {}
    last = run.generations[-1]
    return {"distance": last.distance} | (last.training if isinstance(last, StepEvent) else {})


def _arm(arm: str, found: Sequence[RunCost]) -> ArmCost:
    names = dict.fromkeys(name for one in found for name in one.shown)
    return ArmCost(
        arm=arm,
        total={axis: spread(one.total[axis] for one in found) for axis in AXES},
        parts={part: spread(one.parts[part] for one in found) for part in PARTS},
        other_s=spread(one.other_s for one in found),
        generations=spread(one.generations for one in found),
        generated_tokens=spread(one.generated_tokens for one in found),
        peak_bytes=spread(one.peak_bytes for one in found),
        peak_ratio=ratio_spread(one.peak_ratio for one in found),
        answer_words=spread(one.answer_words for one in found),
        shown={name: spread(one.shown.get(name) for one in found) for name in names},
    )
