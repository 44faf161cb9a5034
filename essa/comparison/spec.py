"""Several methods on one task: one job, a few changes for each arm, several seeds.

REST, CLI and YAML use the same class. Nothing runs here: `planned_runs` lists the jobs in order and
says which of them makes the warm start of its seed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationError, field_validator

from essa.errors import SpecError
from essa.spec.base import SpecModel
from essa.spec.job import AlignmentJobSpec
from essa.spec.model import AdapterWarmStartSpec
from essa.spec.reading.file import problem_error, validate_job
from essa.spec.reading.overlay import overlay, with_default_variants
from essa.spec.reading.problem import Problem, problems_of
from essa.types import is_mapping

SAME_IN_ALL = ("model", "data", "reward", "warm_start")
"""Settings that define the task; arms must not differ in these."""
SET_BY_COMPARISON = ("name", "seed", "schema_version")

_LONGEST_JOB_NAME = 80

ArmName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=24)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class ComparisonSpec(SpecModel):
    """Methods to compare on one task."""

    schema_version: Literal[1] = 1
    name: str = Field(default="comparison", min_length=1, max_length=40)
    job: dict[str, Any]
    """Specification that all arms share. A file may give the path of a job file instead."""
    arms: Annotated[dict[ArmName, dict[str, Any]], Field(min_length=2, max_length=8)]
    """Changes of each arm to the shared job, by the arm's name. Model, data, reward and warm start
    define the task: no arm may change them."""
    reference: str
    """Name of the arm that the others are compared with."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=20)] = (0, 1, 2)
    """Seeds; every arm runs once with each."""
    target: float | None = None
    """Validation score to reach; None means the reference arm's best score with the same seed."""

    @field_validator("arms", mode="before")
    @classmethod
    def _unchanged_arm(cls, given: Any) -> Any:
        # YAML reads an arm without changes, `essa:`, as null.
        if is_mapping(given):
            filled: dict[str, Any] = {
                name: {} if changes is None else changes for name, changes in given.items()
            }
            return filled
        return given


class PlannedRun(NamedTuple):
    """One job of a comparison.

    Attributes:
        arm: name of the job's arm.
        seed: seed of the job.
        spec: specification of the job.
        warm_start_of: arm whose job of this seed makes the warm start; None if this job makes it,
            or it was supplied.
    """

    arm: str
    seed: int
    spec: AlignmentJobSpec
    warm_start_of: str | None

    def told(self, problem: Problem) -> Problem:
        """Return a problem of the job as a problem of its arm."""
        return replace(problem, field=f"arms.{self.arm}: {problem.field}")


def validate_comparison(raw: dict[str, Any]) -> ComparisonSpec:
    """Validate a comparison given as plain data, including its arms.

    Raises:
        SpecError: a setting is invalid; `problems` in the detail has one entry for each.
    """
    try:
        spec = ComparisonSpec.model_validate(raw)
    except ValidationError as error:
        raise problem_error(problems_of(error.errors(), raw)) from error
    planned_runs(spec)
    return spec


def planned_runs(spec: ComparisonSpec) -> tuple[PlannedRun, ...]:
    """Return the jobs of a comparison in the order in which they run.

    One seed runs after the other; the arms rotate, so that none always runs first. The first job of
    a seed makes the warm start, unless an adapter is supplied.

    Raises:
        SpecError: a job is invalid; the message names arm and field, the detail has `problems`.
    """
    problems = _own_problems(spec)
    shared, found = _validated(spec.job, "job")
    problems += found
    if problems or shared is None:
        raise problem_error(problems)
    runs: list[PlannedRun] = []
    for turn, seed in enumerate(spec.seeds):
        arms = rotated(list(spec.arms), turn)
        for arm in arms:
            job, found = _arm_job(spec, arm, seed)
            problems += [one for one in found if one not in problems]
            is_given = isinstance(shared.warm_start, AdapterWarmStartSpec)
            maker = None if is_given or arm == arms[0] else arms[0]
            if job is not None:
                runs.append(PlannedRun(arm, seed, after_warm_start(job), maker))
    if problems:
        raise problem_error(problems)
    return tuple(runs)


def after_warm_start(spec: AlignmentJobSpec) -> AlignmentJobSpec:
    """Return the job with its budget counted after the warm start, as comparisons run it."""
    budget = spec.budget.model_copy(update={"after_warm_start": True})
    return spec.model_copy(update={"budget": budget})


def with_warm_start(spec: AlignmentJobSpec, folder: str) -> AlignmentJobSpec:
    """Return the job with an adapter made by another job as its warm start."""
    return spec.model_copy(update={"warm_start": AdapterWarmStartSpec(path=folder)})


def rotated(arms: list[str], turn: int) -> list[str]:
    """Return the arms in rotated order, starting with a different one each turn."""
    first = turn % len(arms)
    return arms[first:] + arms[:first]


def _own_problems(spec: ComparisonSpec) -> list[Problem]:
    problems: list[Problem] = []
    if spec.reference not in spec.arms:
        problems.append(Problem("reference", spec.reference, f"use one of {', '.join(spec.arms)}"))
    if len(set(spec.seeds)) < len(spec.seeds):
        problems.append(Problem("seeds", list(spec.seeds), "a seed is given twice; name each once"))
    for arm, changes in spec.arms.items():
        for name in changes:
            place = f"arms.{arm}.{name}"
            if name in SAME_IN_ALL:
                fix = f"not the same task: arms share one {name}; change it under job.{name}"
                problems.append(Problem(place, None, fix))
            elif name in SET_BY_COMPARISON:
                fix = "the comparison sets this itself; seeds stand in `seeds`"
                problems.append(Problem(place, None, fix))
    return problems


def _arm_job(
    spec: ComparisonSpec, arm: str, seed: int
) -> tuple[AlignmentJobSpec | None, list[Problem]]:
    changes = spec.arms[arm]
    whole = overlay(with_default_variants(spec.job, changes), changes)
    name = f"{spec.name} / {arm} / {seed}"[:_LONGEST_JOB_NAME]
    return _validated(whole | {"name": name, "seed": seed}, f"arms.{arm}")


def _validated(raw: dict[str, Any], place: str) -> tuple[AlignmentJobSpec | None, list[Problem]]:
    try:
        return validate_job(raw), []
    except SpecError as error:
        return None, [_at(place, one) for one in error.detail["problems"]]


def _at(place: str, problem: Problem) -> Problem:
    if problem.field:
        return replace(problem, field=f"{place}.{problem.field}")
    return Problem(place, None, problem.fix)  # about several settings at once: no single value
