"""Scores candidates in threads beside the rollouts of those that are not finished yet."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType

from reward.base import Reward, RewardResult
from workers.evaluation.score_sheet import ScoreSheet

THREADS = 8
"""Candidates scored at once. Most rewards are held by one lock, Python's own; judges and remote
scorers wait for others, and may have many answers under way."""
POLL_S = 0.5


class Scoring:
    """Hands finished candidates to the reward; used as a context for one evaluation.

    Args:
        check: raises to end the evaluation (cancel).
    """

    def __init__(
        self, reward: Reward, sheet: ScoreSheet, check: Callable[[], None] = lambda: None
    ) -> None:
        self._reward = reward
        self._sheet = sheet
        self._check = check
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="reward")
        self._pending: dict[Future[list[RewardResult]], tuple[int, ...]] = {}

    def __enter__(self) -> Scoring:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=error is None, cancel_futures=True)

    def submit(self, *rows: int) -> None:
        """Score what the candidates of these rows answered, in one call of the reward.

        Several rows go together where candidates have groups, since no metric of a batch is there.
        """
        if not rows:
            return
        samples = [sample for row in rows for sample in self._sheet.samples(row)]
        self._pending[self._threads.submit(self._reward.score, samples)] = rows

    def finish(self) -> float:
        """Wait for all scores.

        Returns:
            Seconds it took.
        """
        began_s = time.monotonic()
        while self._pending:
            self._check()
            done, _ = wait(self._pending, timeout=POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                results = iter(future.result())
                for row in self._pending.pop(future):
                    self._sheet.score(row, results)
        return time.monotonic() - began_s
