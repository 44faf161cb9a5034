"""The specification of one alignment job: the same class for REST, CLI and YAML."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from essa.spec.base import SpecModel
from essa.spec.data import DataSpec
from essa.spec.engine import AUTO, EngineSpec, Precision, RolloutSpec, VllmEngineSpec
from essa.spec.integrations import IntegrationSpec
from essa.spec.method import EvolutionSpec, MethodSpec
from essa.spec.model import ModelSpec, RejectionSamplingWarmStartSpec, WarmStartSpec
from essa.spec.search import (
    AnnealedEsSpec,
    SearchSpec,
    SepCmaEsSpec,
    check_design,
    completions_of,
    groups_of,
    settled_design,
)
from essa.types import is_mapping
from reward.spec import PassAtKSpec, RewardSpec
from reward.spec.nesting import models_in

SCHEMA_VERSION = 1

GENERATIONS = 48
"""Generations that a budget of completions is cut into: enough for a schedule, few enough for large
batches. Where a reward is mostly noise, how many there are matters little."""
POPULATIONS = (16, 1024)
"""Least and largest population that follows from a budget."""
BATCH_SIZE = 32
"""Prompts of a generation that all candidates share, where the job does not say."""

_METHOD: TypeAdapter[MethodSpec] = TypeAdapter(MethodSpec)
_SEARCH: TypeAdapter[SearchSpec] = TypeAdapter(SearchSpec)
_REWARD: TypeAdapter[RewardSpec] = TypeAdapter(RewardSpec)


class BudgetSpec(SpecModel):
    """When to stop. Whatever is reached first ends the search; the result is still exported."""

    generations: int = Field(default=50, ge=1)
    wall_s: float | None = Field(default=None, gt=0)
    """Seconds from the start of the job, warm start included."""
    tokens: int | None = Field(default=None, ge=1)
    """Prompt and generated tokens, warm start and probes included."""
    completions: int | None = Field(default=None, ge=1)
    """Completions of training prompts, the ladder's included; those of validation and test are not
    counted. The search ends with the generation that comes nearest."""
    after_warm_start: bool = False
    """Whether making the warm start uses up neither `wall_s` nor `tokens`. Comparisons set this:
    one job makes the warm start that all of a seed share."""
    target_score: float | None = None
    """Stop once the validation score of the mean vector reaches this."""


class EvaluationSpec(SpecModel):
    """How the mean vector is judged."""

    every: int = Field(default=2, ge=1)
    """Score the validation set every so many generations."""
    samples: int = Field(default=5, ge=0)
    """Test completions kept side by side in the result."""
    rollouts: Literal["all", "sampled", "none"] = "sampled"
    """Completions kept with their scores in the run's folder: all of them, up to `rollouts_kept` of
    every generation and of every validation, or none. The final test is kept whole."""
    rollouts_kept: int = Field(default=2048, ge=1)
    """With rollouts `sampled`: completions kept of one generation, all candidates on as many of its
    prompts as fit."""
    max_missing_frac: float = Field(default=0.25, ge=0, lt=1)
    """A candidate with a larger share of missing scores is missing as a whole: it has no fitness
    and no weight in the update."""
    serving_precision: Precision | None = None
    """Precision of the base the adapter will be served on: the test is scored there too where the
    search ran on another, and the exported adapter names that base. None is bf16 after a search on
    int8 or int4, and otherwise the search's own."""


class AlignmentJobSpec(SpecModel):
    """Everything one job needs."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str = Field(default="alignment", min_length=1, max_length=80)
    model: ModelSpec
    warm_start: WarmStartSpec = RejectionSamplingWarmStartSpec()
    data: DataSpec
    reward: RewardSpec
    method: MethodSpec = EvolutionSpec()
    search: SearchSpec = SepCmaEsSpec()
    engine: EngineSpec = VllmEngineSpec()
    rollout: RolloutSpec = RolloutSpec()
    batch_size: int = Field(default=BATCH_SIZE, ge=2)
    """Training prompts per generation, drawn afresh each time; `search.design` says who answers
    which. Where every antithetic pair has prompts of its own, the default is one a pair."""
    budget: BudgetSpec = BudgetSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    integrations: tuple[IntegrationSpec, ...] = Field(default=(), max_length=8)
    """Where progress and result are sent too: Weights & Biases, MLflow, TensorBoard."""
    seed: int = Field(default=0, ge=0)

    @property
    def serving_precision(self) -> Precision:
        """`evaluation.serving_precision` with its default resolved."""
        chosen, searched = self.evaluation.serving_precision, self.engine.precision
        if chosen is None:
            return Precision.FP32 if searched is Precision.FP32 else Precision.BF16
        return chosen

    @property
    def groups(self) -> int:
        """Groups of candidates with prompts of their own in a generation, see `essa.groups`."""
        return groups_of(self.search, self.reward)

    @property
    def moves_weights(self) -> bool:
        """Whether a vector holds all weights of the adapter, not singular values."""
        return self.method.moves_weights(self.search)

    @model_validator(mode="before")
    @classmethod
    def _derived(cls, content: Any) -> Any:
        return _with_derived(content) if is_mapping(content) else content

    @model_validator(mode="after")
    def _fits_its_design(self) -> AlignmentJobSpec:
        if not self.method.needs_score_each:
            check_design(self.search, self.reward, self.batch_size)
        return self

    @model_validator(mode="after")
    def _fits_its_method(self) -> AlignmentJobSpec:
        self.method.check(self)
        return self

    @model_validator(mode="after")
    def _sampling_needs_temperature(self) -> AlignmentJobSpec:
        if self.rollout.samples_per_prompt > 1 and self.rollout.temperature == 0:
            raise ValueError(
                f"rollout.samples_per_prompt is {self.rollout.samples_per_prompt} but "
                "rollout.temperature is 0: greedy samples are all alike; raise the temperature"
            )
        return self

    @model_validator(mode="after")
    def _pass_at_k_needs_k_answers(self) -> AlignmentJobSpec:
        needed = max((part.k for part in models_in(self.reward, PassAtKSpec)), default=1)
        given = {"rollout.samples_per_prompt": self.rollout.samples_per_prompt}
        if isinstance(self.warm_start, RejectionSamplingWarmStartSpec):
            given["warm_start.samples_per_prompt"] = self.warm_start.samples_per_prompt
        for name, samples in given.items():
            if samples < needed:
                raise ValueError(
                    f"the reward has pass_at_k with k {needed}, but {name} is {samples}; set it to "
                    f"{needed} or more, or lower k"
                )
        return self

    @model_validator(mode="after")
    def _batch_invariance_needs_an_engine_that_has_it(self) -> AlignmentJobSpec:
        if not self.rollout.batch_invariant:
            return self
        wanted = {
            "kind": (["vllm"], "vllm"),
            "precision": (["bf16", "int8", "int4", AUTO], "bf16, int8, int4 or auto"),
            "cores_per_worker": ([None, 1], "1"),
        }
        for name, (allowed, words) in wanted.items():
            value = getattr(self.engine, name)
            if value not in allowed:
                raise ValueError(
                    f"rollout.batch_invariant is true but engine.{name} is {value}; set it to "
                    f"{words}, or remove rollout.batch_invariant"
                )
        if self.serving_precision is Precision.FP32:
            raise ValueError(
                "rollout.batch_invariant is true but evaluation.serving_precision is fp32; set it "
                "to bf16, int8 or int4, or remove rollout.batch_invariant"
            )
        return self


def _with_derived(content: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in population, batch size and generations of a search as it was written.

    Sections that are not valid are left to the validation of the whole.
    """
    filled = dict(content)
    try:
        search = _SEARCH.validate_python(_part(filled, "search", "population") or SepCmaEsSpec())
        budget = BudgetSpec.model_validate(_part(filled, "budget", "generations"))
        if budget.completions is None and not isinstance(search, AnnealedEsSpec):
            return filled
        method = _METHOD.validate_python(filled.get("method") or EvolutionSpec())
        reward = _REWARD.validate_python(filled.get("reward"))
        rollout = RolloutSpec.model_validate(filled.get("rollout") or {})
    except ValidationError:
        return filled
    if method.needs_score_each:
        return filled
    completions = budget.completions
    has_pairs = settled_design(search, reward) == "pairs"
    if has_pairs and completions is not None and "population" not in search.model_fields_set:
        least, most = POPULATIONS
        population = min(most, max(least, completions // GENERATIONS // 2 * 2))
        filled["search"] = search = search.model_copy(update={"population": population})
    if has_pairs and filled.get("batch_size") is None:
        filled["batch_size"] = search.population // 2
    batch_size = filled.get("batch_size", BATCH_SIZE)
    if completions is None or "generations" in budget.model_fields_set:
        return filled
    if isinstance(batch_size, int):
        one = completions_of(search, reward, batch_size, rollout.samples_per_prompt)
        generations = max(1, math.ceil(completions / max(1, one)))
        filled["budget"] = budget.model_copy(update={"generations": generations})
    return filled


def _part(content: Mapping[str, Any], name: str, derived: str) -> Any:
    """Return a section of a job, without its setting `derived` if that is null."""
    part: Any = content.get(name)
    if is_mapping(part) and part.get(derived) is None:
        return {key: value for key, value in part.items() if key != derived}
    return part or {}
