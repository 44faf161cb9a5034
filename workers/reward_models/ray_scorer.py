"""A client of a reward model in another process, which is restarted when it is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from reward.errors import RewardConfigError
from reward.resources import TextScorer
from reward.spec.reward_model import RewardModelSpec
from workers.cluster.pool import START_TIMEOUT_S

RESTARTS = 1
"""Restarts of a model whose process died or hung."""


class RayScorer(TextScorer):
    """A reward model in a process of its own.

    Calls from several threads take turns batch by batch, so that `timeout_s` covers one batch only.
    A process that dies or hangs is restarted once. A batch whose process died is tried once more,
    one that hung is missing; after a second loss all scores are missing.

    Args:
        spawn: makes an actor around the model, see `RewardModelActor`.
        notify: called with one sentence for every loss.
    Raises:
        RewardConfigError: the model does not load.
    """

    def __init__(
        self,
        spawn: Callable[[], Any],
        spec: RewardModelSpec,
        notify: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._spawn = spawn
        self._spec = spec
        self._notify = notify
        self._lock = threading.Lock()
        self._is_closed = False
        self._restarts = 0
        self._gone = ""
        self._actor: Any = self._start()

    def score(self, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[float | str]:
        # Texts of similar length share a batch, so that less of it is padding.
        order = sorted(range(len(conversations)), key=lambda index: _length(conversations[index]))
        answers: list[float | str] = [""] * len(conversations)
        for first in range(0, len(order), self._spec.batch_size):
            places = order[first : first + self._spec.batch_size]
            scores = self._score_batch([conversations[index] for index in places])
            for index, score in zip(places, scores, strict=True):
                answers[index] = score
        return answers

    def close(self) -> None:
        # Without the lock: a batch under way must end now, not after its timeout.
        self._is_closed = True
        _end(self._actor)

    def _score_batch(self, batch: Sequence[Any]) -> list[float | str]:
        with self._lock:
            while self._actor is not None:
                try:
                    return ray.get(self._actor.score.remote(batch), timeout=self._spec.timeout_s)
                except GetTimeoutError:
                    reason = (
                        f"a batch of {len(batch)} took longer than `timeout_s` "
                        f"{self._spec.timeout_s:g}; raise it or lower `batch_size`"
                    )
                    self._replace(reason)
                    return [reason] * len(batch)
                except RayError as error:
                    self._replace(f"its process died: {_first_line(error)}")
            return [self._gone] * len(batch)

    def _replace(self, reason: str) -> None:
        """Restart the model, or give it up."""
        _end(self._actor)
        self._actor = None
        self._gone = f"the reward model {self._spec.model} is gone: {reason}"
        if self._is_closed or self._restarts >= RESTARTS:
            return
        self._restarts += 1
        self._notify(f"the reward model was lost ({reason}); starting it again")
        try:
            self._actor = self._start()
        except RewardConfigError as error:
            self._gone = f"{self._gone}, and it did not start again: {error.message}"
        if self._is_closed:
            _end(self._actor)

    def _start(self) -> Any:
        actor = self._spawn()
        try:
            ray.get(actor.start.remote(), timeout=START_TIMEOUT_S)
        except RewardConfigError as error:
            _end(actor)
            # The error as the actor raised it; Ray's own shows a whole traceback.
            raise getattr(error, "cause", error) from None
        except RayError as error:
            _end(actor)
            raise RewardConfigError(
                f"the process of the reward model {self._spec.model} failed while it was loading: "
                f"{_first_line(error)}; where memory is short, set `precision` to int8 or nf4",
                field="model",
            ) from error
        return actor


def _end(actor: Any) -> None:
    if actor is not None and ray.is_initialized():
        ray.kill(actor)


def _length(conversation: Sequence[Mapping[str, str]]) -> int:
    return sum(len(turn["content"]) for turn in conversation)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
