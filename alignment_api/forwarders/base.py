"""What a forwarder is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from essa.spec import AlignmentJobSpec

Value = float | int | str


@dataclass(frozen=True)
class ForwardedRun:
    """The run of a job, for whom it is shown.

    Attributes:
        id: the same in every start of a job, so that a resumed one goes on in the same place.
        folder: where a forwarder may write files.
    """

    id: str
    spec: AlignmentJobSpec
    folder: Path

    @property
    def config(self) -> dict[str, object]:
        """The resolved specification."""
        return self.spec.model_dump(mode="json")


class Forwarder(ABC):
    """Shows one run in one place. Called from one thread; may block, and may raise anything."""

    name: str

    @abstractmethod
    def begin(self, run: ForwardedRun) -> None:
        """Open the run, or go on with the one that an earlier start of the job has opened."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add finite numbers. Steps do not fall, but for a job that resumes before its last one."""

    @abstractmethod
    def finish(self, status: str, summary: Mapping[str, Value]) -> None:
        """Close the run.

        Args:
            status: the job's: succeeded, failed, cancelled, or one in which it may go on.
            summary: of a job that succeeded.
        """
