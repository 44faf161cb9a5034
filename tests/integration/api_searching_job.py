"""A job process that really searches, on engines that only reckon; everything else is real.

A work item is one candidate. It takes a moment, and the user's wish is asked for after each, as the
pool of real engines does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from alignment_api.execution.job_process import main
from essa.coordinator.loop import Coordinator
from essa.coordinator.run import Outlets, Run, Space, Start
from essa.data import JobData
from essa.errors import JobCancelledError
from essa.events import ResultEvent
from essa.objective.normalized import reward_objective
from essa.ports import RunControl, RunSite
from essa.spec import AlignmentJobSpec
from essa.testing import QuadraticEvaluator
from essa.types import FloatArray, PopulationScores, Row
from reward.resources import RewardPolicy

VECTOR = "vector.npy"
ITEM_S = 0.03
_OPTIMUM = np.linspace(0.5, 1.5, 8)


class _SlowEvaluator(QuadraticEvaluator):
    def __init__(self, control: RunControl) -> None:
        super().__init__(_OPTIMUM, pair_noise=0.3)
        self._control = control

    def evaluate(
        self, vectors_N_D: FloatArray, rows: Sequence[Row], **how: Any
    ) -> PopulationScores:
        for _ in vectors_N_D:
            time.sleep(ITEM_S)
            if self._control.is_cancelled():
                raise JobCancelledError("the user asked for it")
        return super().evaluate(vectors_N_D, rows, **how)


def run_job(spec: AlignmentJobSpec, site: RunSite, reward_policy: RewardPolicy) -> ResultEvent:
    """Search; the vector that was found is left in the run's folder."""
    run_dir, sink, control = site.run_dir, site.sink, site.control
    data = JobData(train=_rows(0, 60), validation=_rows(1000, 10), test=_rows(2000, 10))
    space, start = Space(len(_OPTIMUM), "d" * 64), Start(run_dir / "search.ckpt")
    run = Run(spec, reward_objective(spec), data, Outlets(sink), space, start)
    outcome = Coordinator(run, _SlowEvaluator(control)).run()
    np.save(run_dir / VECTOR, outcome.vector)
    result = outcome.result.model_copy(update={"adapter": str(run_dir)})
    sink.emit(result)
    return result


def _rows(first: int, count: int) -> tuple[Row, ...]:
    return tuple(Row(index, f"prompt {index}") for index in range(first, first + count))


if __name__ == "__main__":
    sys.exit(main(run_job=run_job))
