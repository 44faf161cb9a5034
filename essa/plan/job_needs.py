"""Memory and time of one job, from its specification and the sizes of its base and adapter."""

from __future__ import annotations

from typing import NamedTuple

from essa.parametrize.dimension import search_dimension
from essa.plan.memory import Parts, essa_memory, trainer_memory
from essa.plan.shape import ModelShape
from essa.spec import AlignmentJobSpec, Precision
from essa.spec.engine import AUTO

PROMPT_TOKENS = 128
"""Length of a prompt; assumed, as most of a sequence's memory is its answer."""


class AdapterShape(NamedTuple):
    """Rank and modules of the adapter that is searched or trained."""

    rank: int
    modules: tuple[str, ...]


class Needs(NamedTuple):
    """Needs of a job, known without running it.

    Attributes:
        dimension: number of values that are searched or trained.
        memory: bytes of one engine, by purpose.
        trainer_memory: bytes of the training process except activations, by purpose; empty for a
            search.
    """

    dimension: int
    memory: Parts
    trainer_memory: Parts


class Pace(NamedTuple):
    """Measured speed of a similar job.

    Attributes:
        tokens_per_s: generated tokens/s of all engines together.
        answer_tokens: mean length of a completion.
        train_s: seconds of training per completion.
    """

    tokens_per_s: float
    answer_tokens: float
    train_s: float


def job_needs(spec: AlignmentJobSpec, shape: ModelShape, adapter: AdapterShape) -> Needs:
    """Return the dimension and memory of a job.

    Raises:
        EssaError: the shape does not determine the adapter's size, or nothing would be searched.
    """
    weights = shape.lora_parameters(adapter.rank, adapter.modules)
    target, alpha = spec.method.moved(spec.search)
    dimension = weights
    if target != "weights":
        dimension = search_dimension(shape.layers, *adapter, alpha=alpha, target=target)
    capacity = spec.engine.capacity
    together = min(spec.method.completions(spec) or capacity, capacity)
    memory = essa_memory(
        shape,
        # `auto` is resolved when the job starts; bf16 is the upper bound.
        precision=Precision.BF16 if spec.engine.precision == AUTO else spec.engine.precision,
        rank=adapter.rank,
        modules=adapter.modules,
        dimension=dimension,
        population=spec.search.population,
        cached_tokens=together * (PROMPT_TOKENS + spec.rollout.max_tokens),
    )
    if spec.moves_weights:
        # These engines hold one adapter at a time.
        memory["population"] = 0.0
    training = spec.method.training(spec)
    if training is None:
        return Needs(dimension, memory, {})
    trainer = trainer_memory(
        shape, training, weights=weights, trained=dimension, answer_tokens=spec.rollout.max_tokens
    )
    return Needs(dimension, memory, trainer)


def job_times(spec: AlignmentJobSpec, pace: Pace) -> tuple[float, float]:
    """Return the seconds of one generation and of the whole budget, at a similar job's pace."""
    tokens = min(pace.answer_tokens, spec.rollout.max_tokens)
    completions = spec.method.completions(spec)
    generation_s = completions * (tokens / pace.tokens_per_s + pace.train_s)
    total_s = generation_s * spec.budget.generations
    return generation_s, min(total_s, spec.budget.wall_s or total_s)
