"""The score that a trained reward model gives."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence

from reward.base import NaN, Reward, RewardResult, attempt
from reward.errors import RewardConfigError, RewardError
from reward.resources import RewardResources, TextScorer
from reward.sample import Sample
from reward.spec.reward_model import RewardModelSpec

Conversation = list[Mapping[str, str]]


class RewardModelReward(Reward[RewardModelSpec]):
    """`transform(scale * output + offset)` of a sequence-classification model.

    The model reads the conversation with the answer as its last turn; a plain-text prompt is one
    turn of the user. The model is opened at the first sample. If that fails, every score is missing
    with the reason, and opening is not retried: a wrong folder stays wrong, and a job whose scores
    are all missing fails with their messages.

    Raises:
        RewardConfigError: the model's own code is requested, but the operator does not allow it.
    """

    def __init__(
        self,
        spec: RewardModelSpec,
        path: str = "reward",
        resources: RewardResources | None = None,
    ) -> None:
        super().__init__(spec, path, resources)
        if spec.trust_remote_code and not self.resources.policy.allow_model_code:
            raise RewardConfigError(
                f"{path}.trust_remote_code is true, and the operator of this service does not "
                f"allow code that comes with models such as {spec.model!r}; set "
                "ESSA_REWARD_MODEL_CODE=true where the service is started",
                field=f"{path}.trust_remote_code",
            )
        self._lock = threading.Lock()
        self._scorer: TextScorer | None = None
        self._failure: str | None = None

    def score(self, samples: Sequence[Sample]) -> list[RewardResult]:
        read = [attempt(self.path, sample, self._conversation) for sample in samples]
        answers = iter(self._answers([one for one in read if not isinstance(one, RewardResult)]))
        return [
            one if isinstance(one, RewardResult) else self._result(next(answers)) for one in read
        ]

    def close(self) -> None:
        with self._lock:
            scorer, self._scorer = self._scorer, None
        if scorer is not None:
            scorer.close()

    def _answers(self, conversations: Sequence[Conversation]) -> list[float | str]:
        if not conversations:
            return []
        try:
            answers = self._open().score(conversations)
        except RewardError as error:
            return [error.message] * len(conversations)
        # The boundary to a model in another process: its failure concerns only these answers.
        except Exception as error:
            return [f"unexpected {type(error).__name__}: {error}"] * len(conversations)
        if len(answers) != len(conversations):
            message = f"the model gave {len(answers)} scores for {len(conversations)} answers"
            return [message] * len(conversations)
        return answers

    def _open(self) -> TextScorer:
        with self._lock:
            if self._failure is not None:
                raise RewardConfigError(self._failure, field=self.path)
            if self._scorer is None:
                self._scorer = self._opened()
            return self._scorer

    def _opened(self) -> TextScorer:
        if self.resources.open_scorer is None:
            raise RewardConfigError(
                f"the model {self.spec.model!r} cannot be started in this process, which has no "
                "engines; it scores in a running job",
                field=f"{self.path}.model",
            )
        try:
            return self.resources.open_scorer(self.spec)
        except Exception as error:
            self._failure = str(error) or type(error).__name__
            raise

    def _conversation(self, sample: Sample) -> Conversation:
        answer = {"role": "assistant", "content": sample.completion}
        if self.spec.reads == "answer":
            return [answer]
        before = sample.messages or ({"role": "user", "content": sample.prompt},)
        return [*before, answer]

    def _result(self, answer: float | str) -> RewardResult:
        if isinstance(answer, str):
            return RewardResult(NaN, error=f"{self.path}: {answer}")
        if not math.isfinite(answer):
            return RewardResult(NaN, error=f"{self.path}: the model's output is {answer}")
        value = self.spec.scale * answer + self.spec.offset
        return RewardResult(_sigmoid(value) if self.spec.transform == "sigmoid" else value)


def _sigmoid(x: float) -> float:
    """Return the logistic function of x, without overflow."""
    tail = math.exp(-abs(x))
    return 1 / (1 + tail) if x >= 0 else tail / (1 + tail)
