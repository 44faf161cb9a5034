"""Check and run graders without a job."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from alignment_api.auth.access import Caller
from alignment_api.auth.keys import Scope
from alignment_api.graders.schemas import (
    CheckedGrader,
    GraderResult,
    GraderRun,
    OpenAiGraderRun,
    RunErrors,
    RunGrader,
    RunMetadata,
    ValidateGrader,
)
from alignment_api.graders.translation import AnyGrader, GraderEndpoint, as_reward
from alignment_api.settings import Settings
from essa.errors import SpecError
from reward.base import Reward, RewardResult
from reward.errors import RewardConfigError, RewardError
from reward.registry import build_reward
from reward.resources import RewardResources
from reward.spec import JudgeSpec, PythonSpec, RewardSpec
from reward.spec.nesting import models_in

PATH = "grader"


class GraderService:
    """Builds a grader for each request and frees it afterwards. Blocking; call it from a thread."""

    def __init__(self, settings: Settings) -> None:
        self._resources = RewardResources(settings.reward_policy)
        self._endpoint = grader_endpoint(settings)

    def validate(self, request: ValidateGrader, caller: Caller) -> CheckedGrader:
        """Check a grader, and data rows against it.

        Raises:
            SpecError: the grader cannot be used here, or not with one of the rows.
            InsufficientScopeError: the grader contains user code, and the key may not send any.
        """
        spec, reward = self._build(request.grader, caller)
        for number, row in enumerate(request.rows):
            try:
                reward.check_row(row)
            except RewardConfigError as error:
                raise SpecError(f"rows.{number} does not fit: {error}", **error.detail) from error
        return CheckedGrader(
            grader=spec.model_dump(mode="json"),
            components=list(reward.component_names),
            needs=sorted(reward.needs),
            is_batch=reward.is_batch,
        )

    def run(self, request: RunGrader, caller: Caller) -> GraderRun | OpenAiGraderRun:
        """Score answers.

        Raises:
            SpecError: the grader cannot be used here.
            InsufficientScopeError: the grader contains user code, and the key may not send any.
        """
        spec, reward = self._build(request.grader, caller)
        started_s = time.monotonic()
        try:
            samples = [one.as_sample(index) for index, one in enumerate(request.answers)]
            results = reward.score(samples)
        except RewardError as error:
            raise SpecError(error.message, **error.detail) from error
        finally:
            reward.close()
        seconds = time.monotonic() - started_s
        costs = reward.costs()
        if request.model_sample is not None:
            return _openai_run(request.grader, spec, results[0], costs, seconds)
        known = [result.value for result in results if not result.missing]
        return GraderRun(
            reward=math.fsum(known) / len(known) if known else None,
            missing=len(results) - len(known),
            seconds=seconds,
            results=[_shown(result) for result in results],
            costs=costs,
        )

    def _build(self, grader: AnyGrader, caller: Caller) -> tuple[RewardSpec, Reward]:
        spec = as_reward(grader, PATH, self._endpoint)
        require_code(spec, caller, "a grader of type `python`")
        try:
            return spec, build_reward(spec, PATH, self._resources)
        except RewardError as error:
            raise SpecError(error.message, **error.detail) from error


def require_code(reward: RewardSpec, caller: Caller, what: str) -> None:
    """Check that the caller may send the code that a reward contains.

    Args:
        reward: the reward to check.
        caller: the sender of the request.
        what: name of the reward for the error message.
    Raises:
        InsufficientScopeError: the caller may not send code.
    """
    if any(models_in(reward, PythonSpec)):
        caller.require(Scope.CODE, what)


def grader_endpoint(settings: Settings) -> GraderEndpoint | None:
    """Return the endpoint of grading models; None if the operator has set none."""
    if settings.grader_url is None:
        return None
    return GraderEndpoint(settings.grader_url, settings.grader_api_key)


def _openai_run(
    grader: AnyGrader,
    spec: RewardSpec,
    result: RewardResult,
    costs: Mapping[str, Mapping[str, float | None]],
    seconds: float,
) -> OpenAiGraderRun:
    shown = _shown(result)
    tokens = {place: _tokens(cost) for place, cost in costs.items()}
    return OpenAiGraderRun(
        reward=shown.reward,
        sub_rewards=shown.components,
        metadata=RunMetadata(
            name=getattr(grader, "name", spec.type),
            type=grader.type,
            errors=_errors(spec, result.error),
            execution_time=seconds,
            scores=shown.components,
            token_usage=int(sum(tokens.values())) if tokens else None,
        ),
        model_grader_token_usage_per_model=tokens,
    )


def _tokens(cost: Mapping[str, float | None]) -> float:
    return sum(cost.get(name) or 0.0 for name in ("prompt_tokens", "completion_tokens"))


def _errors(spec: RewardSpec, reason: str | None) -> RunErrors:
    if reason is None:
        return RunErrors()
    if isinstance(spec, PythonSpec):
        return RunErrors(
            python_grader_runtime_error=True, python_grader_runtime_error_details=reason
        )
    if isinstance(spec, JudgeSpec):
        return RunErrors(model_grader_server_error=True, model_grader_server_error_details=reason)
    return RunErrors(other_error=True)


def _shown(result: RewardResult) -> GraderResult:
    return GraderResult(
        reward=_number(result.value),
        components={name: _number(value) for name, value in result.components.items()},
        error=result.error,
    )


def _number(value: float) -> float | None:
    """Return the value, or None for NaN, which JSON lacks."""
    return None if math.isnan(value) else value
