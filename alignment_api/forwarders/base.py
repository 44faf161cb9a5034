"""The interface of forwarders, which send a run to a tracker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from essa.spec import AlignmentJobSpec

Value = float | int | str


@dataclass(frozen=True)
class ForwardedRun:
    """The run of a job, as forwarders see it.

    Attributes:
        id: the same for every start of a job, so that a resumed job continues the same run.
        folder: a folder that a forwarder may write files to.
    """

    id: str
    spec: AlignmentJobSpec
    folder: Path

    @property
    def config(self) -> dict[str, object]:
        """The resolved specification."""
        return self.spec.model_dump(mode="json")


class Forwarder(ABC):
    """Sends one run to one tracker. Called from one thread; may block and raise any exception."""

    name: str

    @abstractmethod
    def begin(self, run: ForwardedRun) -> None:
        """Open the run, or resume the one that an earlier start of the job opened."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add finite numbers. Steps never decrease, unless a job resumes at an earlier one."""

    @abstractmethod
    def finish(self, status: str, summary: Mapping[str, Value]) -> None:
        """Close the run.

        Args:
            status: the job's state: succeeded, failed, cancelled, or one from which it may resume.
            summary: numbers and words of a succeeded job; empty for others.
        """
