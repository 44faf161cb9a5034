"""What a running job reports. One class per kind; the API, the CLI and the log share them.

`model_dump_json` writes an event, and `read_event` reads it back. A new field needs a default: what
older versions have stored lacks it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    TypeAdapter,
    ValidationError,
    model_serializer,
)

UNREADABLE = "unreadable_event"
"""Code of the warning that stands for an event which this version cannot read."""


@dataclass(frozen=True)
class Tracked:
    """Where trackers such as W&B show a number of a generation: as `group/name`.

    Attributes:
        group: the part before the slash, which trackers group by. The numbers of a dictionary have
            their keys as names.
        name: the field's own name where empty.
    """

    group: str
    name: str = ""


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

    device_s: Annotated[float | None, Tracked("cost")] = None
    """Seconds since the job's start times the devices that its engines hold: GPUs, or cores where
    there are none."""
    tokens: Annotated[int | None, Tracked("cost")] = None
    """Prompt and generated tokens, warm start, probes and validation included."""
    samples: Annotated[int | None, Tracked("cost")] = None
    """Completions, warm start, probes and validation included."""
    completions: Annotated[int | None, Tracked("cost")] = None
    """Completions of training prompts since the warm start, as `budget.completions` counts them."""


_UNSAID: dict[str, Any] = {
    "sigma": None,
    "axis_ratio": None,
    "reliability": None,
    "informative_frac": None,
    "constraints": [],
    "feasible_frac": None,
    "training": {},
}
"""Fields that only a generation or only a step has, as the other one is written: clients find the
same fields in both."""


class RoundEvent(_Spent):
    """One finished round of rollouts and what was learnt from it: a generation or a step.

    The two are written alike, as `generation`; a step is the one whose `sigma` is null.
    """

    type: Literal["generation"] = "generation"
    generation: int
    """Number of the generation or step, counted from 1."""
    best: Annotated[float, Tracked("train", "fitness_best")]
    """Highest fitness."""
    mean: Annotated[float, Tracked("train", "fitness_mean")]
    """Mean fitness."""
    worst: Annotated[float, Tracked("train", "fitness_worst")]
    """Lowest fitness."""
    step_norm: Annotated[float, Tracked("search")]
    """Euclidean distance that the vector moved in this round."""
    distance: Annotated[float, Tracked("search")]
    """Euclidean distance of the vector from the warm start, in the units of the search."""
    missing_scores: Annotated[int, Tracked("train")]
    """Completions without a score."""
    generated_tokens: Annotated[int, Tracked("perf")]
    tokens_per_s: Annotated[float, Tracked("perf")]
    """Generated tokens over rollout seconds."""
    rollout_s: Annotated[float, Tracked("perf")]
    reward_s: Annotated[float, Tracked("perf")]
    train_s: Annotated[float, Tracked("perf")] = 0.0
    """Seconds of forward and backward passes and updates; 0 in a search."""
    coordinator_s: Annotated[float, Tracked("perf")]
    """Seconds of the round without rollouts, reward and training."""
    elapsed_s: Annotated[float, Tracked("cost")]
    """Seconds since the job's start, pauses left out."""
    eta_s: float | None
    """Seconds left until the budget ends, at the pace so far."""
    components: Annotated[dict[str, float], Tracked("train/components")] = Field(
        default_factory=dict
    )
    """Means of the reward's components over all completions of the round."""

    @model_serializer(mode="wrap", when_used="json")
    def _written(self, own: SerializerFunctionWrapHandler) -> dict[str, Any]:
        said: dict[str, Any] = own(self)
        return said | {name: value for name, value in _UNSAID.items() if name not in said}


class GenerationEvent(RoundEvent):
    """One finished generation of a search. The vector is the mean of the search's distribution."""

    fitness: list[float | None]
    """Fitness of every candidate, its mean reward over the prompts unless the objective says
    otherwise; None where the candidate is missing."""
    sigma: Annotated[float, Tracked("search")]
    """Step size."""
    axis_ratio: Annotated[float | None, Tracked("search")] = None
    """Longest over shortest axis of the distribution; None where the search has no axes."""
    reliability: Annotated[float | None, Tracked("train")]
    """Split-half reliability of the candidates' fitness; None where undefined (no variance, or
    under four prompts a candidate)."""
    informative_frac: Annotated[float | None, Tracked("train")] = None
    """Share of prompts on which the candidates that answered them differ at all; None in the events
    of older jobs."""
    constraints: list[ConstraintStatus] = Field(default_factory=list)
    feasible_frac: Annotated[float | None, Tracked("constraints")] = None
    """Share of candidates that hold every constraint; None without constraints."""


class StepEvent(RoundEvent):
    """One finished step of training by gradients. The vector is all that is trained."""

    fitness: list[float | None]
    """Fitness of every prompt, the mean reward of its group of answers; None where no answer has a
    score."""
    training: Annotated[dict[str, float], Tracked("train")] = Field(default_factory=dict)
    """Means over the step's updates: loss, kl, entropy, grad_norm, clip_ratio, learning_rate."""


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


def _round_kind(written: Mapping[str, Any]) -> str:
    """Which of the two is written as `generation`: a step has no step size of a search."""
    return "step" if written.get("sigma") is None else "generation"


_Round = Annotated[
    Annotated[GenerationEvent, Tag("generation")] | Annotated[StepEvent, Tag("step")],
    Discriminator(_round_kind),
]

Event = Annotated[
    StageEvent
    | WarmStartEvent
    | FormatEvent
    | LadderEvent
    | GateEvent
    | _Round
    | ValidationEvent
    | WarningEvent
    | ResultEvent
    | ErrorEvent,
    Field(discriminator="type"),
]

_adapter: TypeAdapter[Event] = TypeAdapter(Event)


def type_of(kind: type[BaseModel]) -> str:
    """What `type` says in the written events of a class."""
    return kind.model_fields["type"].default


def read_event(written: str | bytes | Mapping[str, Any]) -> Event:
    """An event that this or another version has stored or sent.

    Fields that this version does not know are left out. An event of an unknown kind becomes a
    warning of code `UNREADABLE`.

    Args:
        written: JSON, or the plain data in it.
    """
    try:
        if isinstance(written, str | bytes):
            return _adapter.validate_json(written, extra="ignore")
        return _adapter.validate_python(written, extra="ignore")
    except ValidationError:
        said = json.loads(written) if isinstance(written, str | bytes) else written
        message = f"an event of kind {said.get('type')!r} is not shown: this version cannot read it"
        return WarningEvent(code=UNREADABLE, message=message)


def finite(value: float | None) -> float | None:
    """The number; None where it is none, NaN or infinite, which JSON does not have."""
    return value if value is not None and math.isfinite(value) else None
