"""Events that a running job reports: one class per kind, shared by the API, the CLI and the log.

`model_dump_json` writes an event, and `read_event` reads it back. A new field needs a default,
because events stored by older versions lack it.
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
"""Code of the warning that replaces an event which this version cannot read."""


@dataclass(frozen=True)
class Tracked:
    """Name under which trackers such as W&B show a field of a generation: `group/name`.

    Attributes:
        group: the part before the slash, which trackers group by. The entries of a dictionary are
            named by their keys.
        name: the part after the slash; if empty, the field's own name.
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
    """Name of the stage: prepare_model, start_engines, warm_start, gate, ladder, search,
    reward_model, test, export or done."""
    message: str = ""
    done: int | None = None
    """Units finished in this stage; None if they cannot be counted."""
    total: int | None = None
    eta_s: float | None = None
    """Seconds until all counted units are finished, at the pace so far."""


class LadderRung(_EventModel):
    """One step size tried before the search."""

    sigma: float
    reliability: float | None
    """Split-half reliability of candidate fitness; None where undefined (no variance)."""
    mean_fitness: float
    best_fitness: float
    fitness_std: float


class LadderEvent(_EventModel):
    """The step-size probe of `search.sigma_init: auto` and the step size that it chose."""

    type: Literal["ladder"] = "ladder"
    rungs: list[LadderRung]
    start_fitness: float
    """Fitness of the warm start on the same prompts."""
    chosen_sigma: float
    rule: str
    tokens: int
    seconds: float


class WarmStartEvent(_EventModel):
    """The warm start, the adapter that the method starts from, is ready."""

    type: Literal["warm_start"] = "warm_start"
    kind: str
    """Kind of warm start: sft, rejection_sampling or adapter."""
    seconds: float
    """Seconds spent making the warm start; 0 if it was supplied."""
    tokens: int
    """Prompt and generated tokens sampled to make the warm start."""
    samples: int
    """Completions sampled to make the warm start."""


class FormatEvent(_EventModel):
    """The number formats of a job: chosen when it first starts, kept when it resumes."""

    type: Literal["format"] = "format"
    precision: str
    """Precision of the base weights during the search: bf16, int8, int4 or fp32."""
    activations: str
    """Format of activations and of the adapters' products: float32 or bfloat16."""
    serving: str
    """Precision of the base that will be served."""
    serving_activations: str
    training: str
    """Format of the weights in training: float32 or bfloat16."""
    device: str
    """Type of device: cpu or cuda."""
    formats: dict[str, str] = Field(default_factory=dict)
    """Status of every number format on this machine: fast, emulated or impossible."""


class GateEvent(_EventModel):
    """Engines compared with plain transformers before the search; each value is the worst engine's.

    Differences are root mean squares over answer tokens, in nats.
    """

    type: Literal["gate"] = "gate"
    precision: str
    base_nats: float
    """Difference between engine and reference on the base model."""
    warm_start_nats: float
    zeroed_nats: float
    """Difference between an all-zero candidate and the base model, both in the engine."""
    candidates: list[float]
    """Differences of random candidates, each as a share of the adapter's effect."""
    effect_nats: float
    """Smallest effect of a random candidate."""
    cached: bool = False
    """True if the same bases already passed with this base model and these package versions."""
    seconds: float


class ConstraintStatus(_EventModel):
    """Measured state of one constraint."""

    component: str
    direction: Literal[">=", "<=", "="]
    threshold: float
    value: float
    """Component value: smoothed over generations in the search, a mean over prompts elsewhere."""
    ci95: tuple[float, float] | None = None
    multiplier: float | None = None
    """Weight of the constraint in the fitness; None outside the search."""
    violation: float
    """Distance to the threshold as a share of the component's range; 0 if the constraint holds."""
    is_held: bool


class _Spent(_EventModel):
    """Resources that a job has used so far; None in the events of older jobs."""

    device_s: Annotated[float | None, Tracked("cost")] = None
    """Device-seconds: time since the job's start times the number of devices that its engines hold
    (GPUs, or CPU cores on a machine without GPUs)."""
    tokens: Annotated[int | None, Tracked("cost")] = None
    """Prompt and generated tokens, including warm start, probes and validation."""
    samples: Annotated[int | None, Tracked("cost")] = None
    """Completions, including warm start, probes and validation."""
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
"""Values written for fields that only a generation or only a step has, so that clients find the
same fields in both."""


class RoundEvent(_Spent):
    """One finished round of rollouts and the update made from it: a generation or a step.

    Both are written with the type `generation`; in a step, `sigma` is null.
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
    """Seconds of the round spent on anything but rollouts, reward and training."""
    elapsed_s: Annotated[float, Tracked("cost")]
    """Seconds since the job's start, excluding pauses."""
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
    """Fitness of every candidate: its mean reward over the prompts, unless the objective defines
    another; None for a missing candidate."""
    sigma: Annotated[float, Tracked("search")]
    """Step size."""
    axis_ratio: Annotated[float | None, Tracked("search")] = None
    """Ratio of the distribution's longest to its shortest axis; None if the search has no axes."""
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
    """One finished step of gradient training. The vector holds all trained weights."""

    fitness: list[float | None]
    """Fitness of every prompt, the mean reward of its group of answers; None if no answer has a
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
    """Seconds since the job's start; None in the events of older jobs."""


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
    """Test scores on the base used for serving, if the search ran on a different one."""

    precision: str
    test: dict[str, ScoreSummary]
    """Test scores by model: base, warm_start, aligned."""


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
    """Test scores by model: base, warm_start, aligned. Scored once; never used to select."""
    serving: ServingScores | None = None
    """Test scores on the serving base; None if it is the base of the search."""
    validation: ScoreSummary | None
    selected_generation: int
    generations: int
    stop_reason: str
    seconds: float
    tokens: int
    host_peak_bytes: int | None = None
    """Peak memory of the job's processes, engines and trainer together on this machine; shared
    memory counts once. None if the system does not report it, or engines ran elsewhere."""
    adapter: str
    """Path of the exported PEFT adapter's folder on the server."""
    samples: list[CompletionSample]
    reward_costs: dict[str, dict[str, float | None]] = Field(default_factory=dict)
    """Requests, retries, tokens and cost of each judge, by its place in the specification."""


class ErrorEvent(_EventModel):
    """The end of a job that failed."""

    type: Literal["error"] = "error"
    code: str
    message: str


def _round_kind(written: Mapping[str, Any]) -> str:
    """Tell a generation from a step, as both are written as `generation`: a step has no sigma."""
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
    """Return the value of `type` in the written events of a class."""
    return kind.model_fields["type"].default


def read_event(written: str | bytes | Mapping[str, Any]) -> Event:
    """Read an event that this or another version has stored or sent.

    Unknown fields are dropped. An event of an unknown kind becomes a warning with the code
    `UNREADABLE`.

    Args:
        written: JSON text, or the parsed data.
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
    """Return the number, or None if it is None, NaN or infinite: JSON has no such numbers."""
    return value if value is not None and math.isfinite(value) else None
