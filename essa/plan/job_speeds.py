"""How fast a machine does the parts of a job, as measured on it."""

from __future__ import annotations

from typing import NamedTuple


class JobSpeeds(NamedTuple):
    """Seconds of what a job does once, and of one unit of what it does often.

    Engines work side by side: `answer_s` is the time of all of them together for one answer.
    """

    precision: str
    """Of the base that was measured: what `engine.precision: auto` takes here."""
    cluster_s: float
    """Start of the Ray cluster."""
    engines_s: float
    """Start of all engines, side by side."""
    answer_s: float
    """One answer, prompt included, in a batch that fills a generation."""
    train_load_s: float
    """The model that the warm start trains."""
    train_step_s: float
    reference_load_s: float
    """The model that the gate holds engines against; 0 where there is no memory for it."""
    reference_answer_s: float
    """One answer scored by it."""
