"""Write the records of a run in a separate thread, so that the search need not wait for them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

from essa.ports import Recorder
from essa.records.rollouts import FOLDER as ROLLOUTS
from essa.records.rollouts import drop_rollouts, write_rollouts
from essa.records.timeline import Work, append_work, cut_timeline
from essa.records.vectors import FOLDER as VECTORS
from essa.records.vectors import drop_vectors, write_vector
from essa.spec.job import EvaluationSpec
from essa.types import EvaluationKind, FloatArray, PopulationScores, Row, WorkSpan

_MOST_WAITING = 8
"""Maximum number of pending writes; beyond it the search waits, which bounds the memory."""


class RunRecorder(Recorder):
    """Writes the records of one run into its folder; used as a context manager.

    A crash loses the records that are not yet written, at most those of the last generation.

    Args:
        run_dir: the run's folder.
        spec: specifies which completions are kept.
        keeps_vectors: False if a vector has as many numbers as the adapter.
    """

    def __init__(self, run_dir: Path, spec: EvaluationSpec, *, keeps_vectors: bool = True) -> None:
        self._run_dir = run_dir
        self._keeps_vectors = keeps_vectors
        self._keeps = spec.rollouts
        self._max_rows = None if spec.rollouts == "all" else spec.rollouts_kept
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(_MOST_WAITING)
        self._failure: str | None = None
        self.cpu_s = 0.0
        """Processor seconds spent on writing."""
        self._thread = threading.Thread(target=self._write_all, name="recorder", daemon=True)
        self._thread.start()

    def __enter__(self) -> RunRecorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def begin(self, generation: int) -> None:
        """See `Recorder.begin`."""
        self._do(partial(self._cut, generation))

    def vector(self, generation: int, vector: FloatArray) -> None:
        """See `Recorder.vector`."""
        if self._keeps_vectors:
            self._do(partial(write_vector, self._run_dir, generation, vector.copy()))

    def rollouts(
        self,
        kind: EvaluationKind,
        generation: int | None,
        rows: Sequence[Row],
        scores: PopulationScores,
    ) -> None:
        """See `Recorder.rollouts`."""
        if self._keeps == "none":
            return
        most = None if kind == "test" else self._max_rows
        self._do(partial(write_rollouts, self._run_dir, kind, generation, rows, scores, most))

    def work(
        self, kind: EvaluationKind, generation: int | None, spans: tuple[WorkSpan, ...]
    ) -> None:
        """See `Recorder.work`."""
        if spans:
            self._do(partial(append_work, self._run_dir, Work(kind, generation, spans)))

    def failure(self) -> str | None:
        """See `Recorder.failure`."""
        failure, self._failure = self._failure, None
        return failure

    def close(self) -> None:
        """Write the pending records and end the thread."""
        if self._thread.is_alive():
            self._do(None)
            self._thread.join()

    def _do(self, write: Callable[[], None] | None) -> None:
        self._waiting.put(write)

    def _write_all(self) -> None:
        while (write := self._waiting.get()) is not None:
            began_s = time.thread_time()
            try:
                write()
            except Exception as error:  # a failed record must not end the search
                self._failure = (
                    f"records cannot be written to {self._run_dir}: {error or type(error).__name__}"
                    "; free space there, or keep less by evaluation.rollouts"
                )
            self.cpu_s += time.thread_time() - began_s

    def _cut(self, generation: int) -> None:
        for folder in (ROLLOUTS, VECTORS):
            for left in (self._run_dir / folder).glob(".*"):  # half-written before a crash
                left.unlink(missing_ok=True)
        drop_rollouts(self._run_dir, generation)
        drop_vectors(self._run_dir, generation)
        cut_timeline(self._run_dir, generation)
