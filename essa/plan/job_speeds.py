"""Measured times of the parts of a job on one machine."""

from __future__ import annotations

from typing import NamedTuple


class JobSpeeds(NamedTuple):
    """Seconds of every one-off part of a job, and of one unit of every repeated part.

    Engines work in parallel: `answer_s` is wall-clock time divided by the answers of all engines.
    """

    precision: str
    """Precision of the measured base: the choice of `engine.precision: auto` on this machine."""
    cluster_s: float
    """Seconds to start the Ray cluster."""
    engines_s: float
    """Seconds to start all engines in parallel."""
    answer_s: float
    """Seconds per answer, prompt included, in the batches of a generation."""
    train_load_s: float
    """Seconds to load the model that the warm start trains."""
    train_step_s: float
    reference_load_s: float
    """Seconds to load the gate's reference model; 0 if memory does not suffice for it."""
    reference_answer_s: float
    """Seconds to score one answer with the reference model."""
