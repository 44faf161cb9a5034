"""Check and try graders without a job."""

from __future__ import annotations

import math
import time

from alignment_api.graders.schemas import (
    CheckedGrader,
    GraderResult,
    GraderRun,
    RunGrader,
    ValidateGrader,
)
from alignment_api.settings import Settings
from essa.errors import SpecError
from reward.base import Reward, RewardResult
from reward.errors import RewardConfigError, RewardError
from reward.registry import build_reward
from reward.resources import RewardResources
from reward.spec import RewardSpec

PATH = "grader"


class GraderService:
    """Builds a grader for every request and frees it afterwards. Blocking; call from a thread."""

    def __init__(self, settings: Settings) -> None:
        self._resources = RewardResources(settings.reward_policy)

    def validate(self, request: ValidateGrader) -> CheckedGrader:
        """Check a grader, and rows against it.

        Raises:
            SpecError: it cannot be used here, or not with one of the rows.
        """
        reward = self._build(request.grader)
        for number, row in enumerate(request.rows):
            try:
                reward.check_row(row)
            except RewardConfigError as error:
                raise SpecError(f"rows.{number} does not fit: {error}", **error.detail) from error
        return CheckedGrader(
            grader=request.grader.model_dump(mode="json"),
            components=list(reward.component_names),
            needs=sorted(reward.needs),
            is_batch=reward.is_batch,
        )

    def run(self, request: RunGrader) -> GraderRun:
        """Score answers.

        Raises:
            SpecError: the grader cannot be used here.
        """
        reward = self._build(request.grader)
        started_s = time.monotonic()
        try:
            samples = [one.as_sample(index) for index, one in enumerate(request.samples)]
            results = reward.score(samples)
        except RewardError as error:
            raise SpecError(error.message, **error.detail) from error
        finally:
            reward.close()
        known = [result.value for result in results if not result.missing]
        return GraderRun(
            reward=math.fsum(known) / len(known) if known else None,
            missing=len(results) - len(known),
            seconds=time.monotonic() - started_s,
            results=[_shown(result) for result in results],
            costs=reward.costs(),
        )

    def _build(self, spec: RewardSpec) -> Reward:
        try:
            return build_reward(spec, PATH, self._resources)
        except RewardError as error:
            raise SpecError(error.message, **error.detail) from error


def _shown(result: RewardResult) -> GraderResult:
    return GraderResult(
        reward=_number(result.value),
        components={name: _number(value) for name, value in result.components.items()},
        error=result.error,
    )


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value
