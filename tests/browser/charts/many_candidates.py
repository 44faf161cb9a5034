"""A hundred thousand candidates, as events."""

from __future__ import annotations

import numpy as np

from essa.events import GenerationEvent
from essa.ports import EventSink

MANY_GENERATIONS, MANY_CANDIDATES = 1000, 100


def emit_many(sink: EventSink) -> None:
    """Report them generation by generation."""
    rng = np.random.default_rng(0)
    for generation in range(1, MANY_GENERATIONS + 1):
        level = 0.3 + 0.4 * (1 - np.exp(-generation / 300))
        fitness = level + 0.1 * rng.normal(size=MANY_CANDIDATES)
        sink.emit(
            GenerationEvent(
                generation=generation,
                fitness=[round(value, 5) for value in fitness.tolist()],
                best=float(fitness.max()),
                mean=float(fitness.mean()),
                worst=float(fitness.min()),
                sigma=1.0,
                step_norm=1.0,
                distance=1.0,
                reliability=0.5,
                missing_scores=0,
                generated_tokens=1000,
                tokens_per_s=500.0,
                rollout_s=2.0,
                reward_s=0.1,
                coordinator_s=0.01,
                elapsed_s=3.0 * generation,
                eta_s=None,
            )
        )
