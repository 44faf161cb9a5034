"""The tables of a comparison."""

from __future__ import annotations

from essa.comparison.costs import PARTS
from essa.comparison.history import AXES, Spent
from essa.comparison.report.blocks import Table
from essa.comparison.report.wording import (
    AXIS_NAMES,
    PART_NAMES,
    amount,
    count,
    memory,
    over_seeds,
    plain,
    score,
    seconds,
    times,
)
from essa.comparison.scores import ConstraintOverSeeds
from essa.comparison.spread import Spread
from essa.comparison.summary import Summary
from essa.comparison.target import Reached

MODEL_NAMES = {"base": "base", "warm_start": "warm start", "aligned": "aligned"}
NOT_REACHED = "not reached"
_NOT_YET = "not yet"

_AXIS_COLUMNS = tuple(AXIS_NAMES[axis] for axis in AXES)


def all_tables(summary: Summary) -> list[Table]:
    """Return every table that has a row, in the order of a report."""
    made = (
        target_table(summary),
        target_by_seed(summary),
        score_table(summary),
        cost_table(summary),
        time_table(summary),
        warm_start_table(summary),
        detail_table(summary),
        run_table(summary),
    )
    return [table for table in made if table.rows]


def target_table(summary: Summary) -> Table:
    """Return the table of time to target, over seeds."""
    rows: list[tuple[str, ...]] = []
    has_target = any(arm.asked for arm in summary.arms_reached)
    for arm in summary.arms_reached if has_target else ():
        cells = [_cost(arm.spent[axis], arm.ratio[axis], axis) for axis in AXES]
        if arm.asked and not arm.reached:
            is_final = all(one.is_final for one in summary.reached if one.arm == arm.arm)
            cells[0] = NOT_REACHED if is_final else _NOT_YET
        reached = f"{arm.reached} of {arm.asked}" if arm.asked else ""
        rows.append((arm.arm, reached, *cells))
    return Table(
        "Time to target",
        ("arm", "seeds that reached it", *_AXIS_COLUMNS),
        tuple(rows),
        f"Used until the validation score first reached the target, warm start not counted: mean "
        f"and range over the seeds that did. After the semicolon: how many times as much "
        f"{summary.reference} had used by then with the same seed, a geometric mean.",
    )


def target_by_seed(summary: Summary) -> Table:
    """Return the table of time to target, run by run."""
    rows = tuple(
        (one.arm, str(one.seed), score(one.target), _place(one), *_spent(one.spent, one.ratio))
        for one in summary.reached
        if one.target is not None
    )
    columns = ("arm", "seed", "target", "generation", *_AXIS_COLUMNS)
    return Table("Time to target by seed", columns, rows)


def score_table(summary: Summary) -> Table:
    """Return the table of test scores."""
    components = dict.fromkeys(name for one in summary.scores for name in one.components)
    constraints = dict.fromkeys(part.name for one in summary.scores for part in one.constraints)
    rows: list[tuple[str, ...]] = []
    for one in summary.scores:
        held = {part.name: part for part in one.constraints}
        rows.append(
            (
                one.arm,
                MODEL_NAMES[one.model] + (f" on {one.where}" if one.where else ""),
                over_seeds(one.score, score),
                "; ".join(f"{score(low)} to {score(high)}" for low, high in one.ci95.values()),
                *(over_seeds(one.components.get(name), score) for name in components),
                *(_constraint(held.get(name)) for name in constraints),
                str(one.missing) if one.missing else "",
            )
        )
    names = (*components, *constraints)
    return Table(
        "Test scores",
        ("arm", "model", "score", "95 % intervals by seed", *names, "missing"),
        tuple(rows),
        "Scored once, at the end; they decide nothing. Mean and range over seeds; the intervals "
        "are over the prompts of each seed, in the order of the seeds.",
    )


def cost_table(summary: Summary) -> Table:
    """Return the table of the costs of whole runs."""
    rows = tuple(
        (
            arm.arm,
            *(over_seeds(arm.total[axis], amount(axis)) for axis in AXES),
            _with(over_seeds(arm.peak_bytes, memory), arm.peak_ratio),
        )
        for arm in summary.arm_costs
        if arm.total["wall_s"] is not None
    )
    return Table(
        "Whole runs",
        ("arm", *_AXIS_COLUMNS, "peak host memory"),
        rows,
        f"From start to end, model load, gate and test included, warm start not counted. Memory is "
        f"the most that the job's processes held together; after the semicolon, how many times as "
        f"much {summary.reference} held.",
    )


def time_table(summary: Summary) -> Table:
    """Return the table of seconds by activity."""
    rows = tuple(
        (
            arm.arm,
            over_seeds(arm.generations, count),
            *(over_seeds(arm.parts[part], seconds) for part in PARTS),
            over_seeds(arm.other_s, seconds),
        )
        for arm in summary.arm_costs
        if arm.generations is not None
    )
    return Table(
        "Where the time went",
        ("arm", "generations", *(PART_NAMES[part] for part in PARTS), "the rest"),
        rows,
        "Seconds of all generations. Rollouts stand apart, so that methods can be compared as if "
        "their engines were equally fast; the rest is model load, gate, step-size probe, "
        "validation and test.",
    )


def warm_start_table(summary: Summary) -> Table:
    """Return the table of the costs of the shared warm starts."""
    rows = tuple(
        (str(run.seed), run.arm, *(amount(axis)(getattr(run.warm_start, axis)) for axis in AXES))
        for run in sorted(summary.runs, key=lambda run: run.seed)
        if run.warm_start is not None
    )
    return Table(
        "Warm starts",
        ("seed", "made in the job of", *_AXIS_COLUMNS),
        rows,
        "Made once a seed and shared by all arms, so counted for none.",
    )


def detail_table(summary: Summary) -> Table:
    """Return the table of generated tokens, answer length and the methods' own metrics."""
    names = dict.fromkeys(name for arm in summary.arm_costs for name in arm.shown)
    rows = tuple(
        (
            arm.arm,
            over_seeds(arm.generated_tokens, count),
            over_seeds(arm.answer_words, plain),
            *(over_seeds(arm.shown.get(name), plain) for name in names),
        )
        for arm in summary.arm_costs
        if arm.generations is not None
    )
    return Table(
        "Answers and training",
        ("arm", "generated tokens", "words of a test answer", *names),
        rows,
        "Tokens of the training rollouts; words of the test answers that were kept, of the aligned "
        "model; the rest as of the last generation. Distances of different methods are in units of "
        "their own.",
    )


def run_table(summary: Summary) -> Table:
    """Return the table of runs."""
    rows: list[tuple[str, ...]] = []
    for run in summary.runs:
        result = run.result
        rows.append(
            (
                run.arm,
                str(run.seed),
                str(run.generations[-1].generation) if run.generations else "",
                score(run.best),
                "" if result is None else str(result.selected_generation),
                "" if result is None else result.stop_reason,
            )
        )
    columns = ("arm", "seed", "generations", "best validation", "selected", "stopped by")
    return Table("Runs", columns, tuple(rows), "A run that has not ended has blanks at its end.")


def _cost(spent: Spread | None, ratio: Spread | None, axis: str) -> str:
    return _with(over_seeds(spent, amount(axis)), ratio)


def _with(text: str, ratio: Spread | None) -> str:
    return f"{text}; {times(ratio.mean)}" if text and ratio is not None else text


def _spent(spent: Spent, ratio: Spent) -> list[str]:
    cells: list[str] = []
    for axis in AXES:
        text, of = amount(axis)(getattr(spent, axis)), getattr(ratio, axis)
        cells.append(f"{text}; {times(of)}" if text and of is not None else text)
    return cells


def _place(one: Reached) -> str:
    if one.generation is not None:
        return str(one.generation)
    return NOT_REACHED if one.is_final else _NOT_YET


def _constraint(found: ConstraintOverSeeds | None) -> str:
    if found is None:
        return ""
    of = 0 if found.value is None else found.value.count
    return f"{over_seeds(found.value, score)}, held by {found.held} of {of}"
