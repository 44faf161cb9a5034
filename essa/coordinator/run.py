"""One run while it goes on: what it is of, what it has used so far, and its voice."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from essa.coordinator.state import Preparation, open_run, save_run
from essa.data import JobData
from essa.events import StageEvent, WarningEvent
from essa.objective.objective import Objective
from essa.ports import Clock, EventSink, MonotonicClock, Recorder
from essa.search.base import SearchStrategy
from essa.spec.job import AlignmentJobSpec
from essa.types import EvaluationKind, PopulationScores, describe_failures


@dataclass(frozen=True)
class Space:
    """Where a run's vectors live.

    Attributes:
        dimension: D.
        digest: identity of what vectors stand on; a checkpoint over another is refused.
    """

    dimension: int
    digest: str


@dataclass(frozen=True)
class Outlets:
    """Whom a run tells, and what it counts by.

    Attributes:
        recorder: takes what is only looked at.
        devices: GPUs, or cores where there are none, that the job holds.
    """

    sink: EventSink
    recorder: Recorder = field(default_factory=Recorder)
    clock: Clock = field(default_factory=MonotonicClock)
    devices: int = 1


@dataclass(frozen=True)
class Start:
    """Where a run begins.

    Attributes:
        checkpoint: file that it writes and resumes from; None keeps nothing.
        before: what the job has used so far; not counted again by a run that resumes.
    """

    checkpoint: Path | None = None
    before: Preparation = field(default_factory=Preparation)


class Run:
    """A run, opened: resumed from its checkpoint where there is one.

    Attributes:
        state: what is remembered between generations; loops and the examiner write it.
        is_resumed: whether it came from the checkpoint.
    """

    def __init__(
        self,
        spec: AlignmentJobSpec,
        objective: Objective,
        data: JobData,
        outlets: Outlets,
        space: Space,
        start: Start,
    ) -> None:
        """Open it.

        Args:
            objective: of the job's method, in its first state.
        Raises:
            CheckpointIncompatibleError: the checkpoint was written over another space.
            CheckpointCorruptError: no intact copy of it is left.
        """
        self.spec = spec
        self.data = data
        self.space = space
        self.sink, self.recorder = outlets.sink, outlets.recorder
        self.clock, self.devices = outlets.clock, outlets.devices
        self.objective = objective
        self._checkpoint = start.checkpoint
        opened = open_run(
            start.checkpoint, space.digest, dimension=space.dimension, before=start.before
        )
        self.state, self.is_resumed = opened.state, opened.is_resumed
        self.objective.restore(self.state.objective)
        self._started_s = self.clock.now_s() - self.state.elapsed_s
        self._told: set[str] = set()
        for text in opened.notes:
            self.warn("checkpoint_fallback", text)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the job's start, pauses left out."""
        return self.clock.now_s() - self._started_s

    @property
    def device_s(self) -> float:
        """Seconds up to the last decision, times the devices held."""
        return self.state.elapsed_s * self.devices

    def count(
        self,
        scores: PopulationScores,
        began_s: float,
        kind: EvaluationKind,
        generation: int | None,
    ) -> None:
        """Add what an evaluation cost to the state, and record who did what.

        Args:
            began_s: when it began, in seconds since the job's start.
            kind: what was evaluated.
            generation: None for the test.
        """
        self.state.tokens += scores.tokens
        self.state.samples += scores.samples
        if kind in ("train", "ladder"):
            self.state.completions += scores.samples
        spans = tuple(
            span._replace(started_s=began_s + span.started_s, ended_s=began_s + span.ended_s)
            for span in scores.spans
        )
        self.recorder.work(kind, generation, spans)

    def save(self, search: SearchStrategy | None = None) -> None:
        """Write the checkpoint; with the search's state, where there is a search."""
        if search is not None:
            self.state.search = search.state()
            self.state.objective = self.objective.state()
        if self._checkpoint is not None:
            save_run(self._checkpoint, self.state)

    def say(self, message: str) -> None:
        """Show where the run is."""
        self.sink.emit(StageEvent(stage="search", message=message))

    def warn(self, code: str, message: str) -> None:
        """Tell the user what they should know; the job goes on."""
        self.sink.emit(WarningEvent(code=code, message=message))

    def tell_once(self, code: str, message: str | None) -> None:
        """Warn, unless this very message was told before."""
        if message is not None and message not in self._told:
            self._told.add(message)
            self.warn(code, message)

    def tell_failures(self, scores: PopulationScores) -> None:
        """Tell every kind of failure once; the events carry the counts of missing scores."""
        news = scores.failures.keys() - self._told
        if news:
            self._told |= news
            self.warn(
                "missing_scores", f"some scores are missing: {describe_failures(scores.failures)}"
            )
