"""What a running job reports. One class per kind; the API, the CLI and the log share them."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class _EventModel(BaseModel):
    # NaN travels as a string: JSON has none, and null would read as "not computed".
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, ser_json_inf_nan="strings"
    )


class StageEvent(_EventModel):
    """The job entered a stage, or moved on inside one."""

    type: Literal["stage"] = "stage"
    stage: str
    """prepare_model, start_engines, warm_start, gate, ladder, search, reward_model, test, export or
    done."""
    message: str = ""
    done: int | None = None
    """Units finished in this stage, where they can be counted."""
    total: int | None = None
    eta_s: float | None = None
    """Seconds left of what is counted, at the pace so far."""


class LadderRung(_EventModel):
    """One step size tried before the search."""

    sigma: float
    reliability: float | None
    """Split-half reliability of candidate fitness; None where undefined (no variance)."""
    mean_fitness: float
    best_fitness: float
    fitness_std: float


class LadderEvent(_EventModel):
    """The step-size probe of `search.sigma_init: auto` and what it chose."""

    type: Literal["ladder"] = "ladder"
    rungs: list[LadderRung]
    start_fitness: float
    """Fitness of the warm start on the same prompts."""
    chosen_sigma: float
    rule: str
    tokens: int
    seconds: float


class WarmStartEvent(_EventModel):
    """The adapter that the method starts from is there."""

    type: Literal["warm_start"] = "warm_start"
    kind: str
    """sft, rejection_sampling or adapter."""
    seconds: float
    """Of making it; 0 where it was given."""
    tokens: int
    """Prompt and generated tokens of its sampling."""
    samples: int
    """Completions of its sampling."""


class FormatEvent(_EventModel):
    """What the job computes in: chosen at its first start, kept when it resumes."""

    type: Literal["format"] = "format"
    precision: str
    """Of the base weights under the search: bf16, int8, int4 or fp32."""
    activations: str
    """float32 or bfloat16; the adapters' products too."""
    serving: str
    """Precision of the base that will be served."""
    serving_activations: str
    training: str
    """What weights are trained in: float32 or bfloat16."""
    device: str
    """cpu or cuda."""
    formats: dict[str, str] = Field(default_factory=dict)
    """Every number format on this machine: fast, emulated or impossible."""


class GateEvent(_EventModel):
    """The engines held against plain transformers before the search; the worst over all engines.

    Differences are root mean squares over answer tokens, in nats.
    """

    type: Literal["gate"] = "gate"
    precision: str
    base_nats: float
    """Base model, engine against reference."""
    warm_start_nats: float
    zeroed_nats: float
    """A candidate of zeros against the base, both in the engine."""
    candidates: list[float]
    """Random candidates: their difference as a share of the adapter's effect."""
    effect_nats: float
    """The smallest effect of a random candidate."""
    cached: bool = False
    """True where the same bases passed on the same base and versions before."""
    seconds: float


class ConstraintStatus(_EventModel):
    """One constraint, as measured."""

    component: str
    direction: Literal[">=", "<=", "="]
    threshold: float
    value: float
    """Of the component: smoothed over generations in the search, a mean over prompts elsewhere."""
    ci95: tuple[float, float] | None = None
    multiplier: float | None = None
    """Weight of the constraint in the fitness; None outside the search."""
    violation: float
    """How far the threshold is missed, in units of the component's range; 0 where held."""
    is_held: bool


class _Spent(_EventModel):
    """What a job has used so far; None in the events of older jobs."""

    device_s: float | None = None
    """Seconds since the job's start times the devices that its engines hold: GPUs, or cores where
    there are none."""
    tokens: int | None = None
    """Prompt and generated tokens, warm start, probes and validation included."""
    samples: int | None = None
    """Completions, warm start, probes and validation included."""
    completions: int | None = None
    """Completions of training prompts since the warm start, as `budget.completions` counts them."""


class GenerationEvent(_Spent):
    """One finished generation, or one step of a gradient method.

    Fitness is the mean reward over the generation's prompts.
    """

    type: Literal["generation"] = "generation"
    generation: int
    """Counted from 1."""
    fitness: list[float | None]
    """Per candidate; None is a missing candidate. Of a gradient method: per prompt, the mean reward
    of its group."""
    best: float
    mean: float
    worst: float
    sigma: float | None
    """Step size of the search; None for a gradient method."""
    axis_ratio: float | None = None
    step_norm: float
    distance: float
    """Euclidean distance of the mean vector from the warm start, in search units."""
    reliability: float | None
    missing_scores: int
    generated_tokens: int
    tokens_per_s: float
    """Generated tokens over rollout seconds."""
    rollout_s: float
    reward_s: float
    train_s: float = 0.0
    """Forward and backward passes and updates of a gradient method."""
    coordinator_s: float
    """Everything of the generation but rollouts, reward and training."""
    elapsed_s: float
    eta_s: float | None
    components: dict[str, float] = Field(default_factory=dict)
    constraints: list[ConstraintStatus] = Field(default_factory=list)
    feasible_frac: float | None = None
    """Share of candidates that hold every constraint; None without constraints."""
    training: dict[str, float] = Field(default_factory=dict)
    """Of a gradient method: loss, kl, entropy, grad_norm, clip_ratio, learning_rate."""


class ValidationEvent(_Spent):
    """The mean vector scored on the validation set."""

    type: Literal["validation"] = "validation"
    generation: int
    score: float
    ci95: tuple[float, float]
    is_best: bool
    components: dict[str, float] = Field(default_factory=dict)
    constraints: list[ConstraintStatus] = Field(default_factory=list)
    is_feasible: bool | None = None
    """Whether every constraint is held; None without constraints."""
    elapsed_s: float | None = None
    """Since the job's start; None in the events of older jobs."""


class WarningEvent(_EventModel):
    """Something the user should know; the job goes on."""

    type: Literal["warning"] = "warning"
    code: str
    message: str


class ScoreSummary(_EventModel):
    """Mean score on a set with a 95 % bootstrap interval over prompts."""

    mean: float
    ci95: tuple[float, float]
    prompts: int
    missing: int = 0
    components: dict[str, float] = Field(default_factory=dict)
    constraints: list[ConstraintStatus] = Field(default_factory=list)


class ServingScores(_EventModel):
    """The same models on the base they will be served on, where the search ran on another."""

    precision: str
    test: dict[str, ScoreSummary]
    """Keys base, warm_start, aligned."""


class CompletionSample(_EventModel):
    """One test prompt answered by base, warm start and aligned model."""

    prompt: str
    base: str
    warm_start: str
    aligned: str


class ResultEvent(_EventModel):
    """The end of a job that succeeded."""

    type: Literal["result"] = "result"
    test: dict[str, ScoreSummary]
    """Keys base, warm_start, aligned. Scored once; decides nothing."""
    serving: ServingScores | None = None
    """None where the base of the search is the one to be served."""
    validation: ScoreSummary | None
    selected_generation: int
    generations: int
    stop_reason: str
    seconds: float
    tokens: int
    host_peak_bytes: int | None = None
    """Most memory that the job's processes, engines and trainer had together on this machine; what
    they share counts once. None where the system does not tell, or engines ran elsewhere."""
    adapter: str
    """Folder of the exported PEFT adapter on the server."""
    samples: list[CompletionSample]
    reward_costs: dict[str, dict[str, float | None]] = Field(default_factory=dict)
    """What judges used, by their place in the job: requests, retries, tokens, cost."""


class ErrorEvent(_EventModel):
    """The end of a job that failed."""

    type: Literal["error"] = "error"
    code: str
    message: str


Event = Annotated[
    StageEvent
    | WarmStartEvent
    | FormatEvent
    | LadderEvent
    | GateEvent
    | GenerationEvent
    | ValidationEvent
    | WarningEvent
    | ResultEvent
    | ErrorEvent,
    Field(discriminator="type"),
]

event_adapter: TypeAdapter[Event] = TypeAdapter(Event)


def finite(value: Any) -> float | None:
    """A number of a stored event, where NaN and infinity are texts; None for what is none."""
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else None
