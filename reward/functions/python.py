"""Scores from a Python function of the user."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from reward.base import NaN, RewardResult, text_fault
from reward.child.limits import ChildLimits
from reward.child.pool import Answer
from reward.child.process import Program
from reward.child.reward import ChildReward
from reward.column import read_column
from reward.errors import RewardConfigError
from reward.resources import RewardResources
from reward.sample import Sample
from reward.spec.code import MAX_SOURCE_CHARS, PythonSpec
from reward.user_code.calling import batch_item, grader_item, required_columns, verl_item
from reward.user_code.signature import find_function

logger = logging.getLogger(__name__)


class Python(ChildReward[PythonSpec]):
    """The score that a Python function of the user returns.

    Building the reward reads the file and finds the function, but runs nothing. A score is missing
    if the function raises, returns None, or exceeds a limit. The state of the module lasts from one
    item to the next in the same child, but children may be replaced at any time, so a function must
    not rely on that state.

    A `trl` function is called with the whole batch, but must score each answer independently: if
    the call fails, the function is called again with one answer at a time, so that only the faulty
    one is missing. `completion_ids` is not passed; `trainer_state` is None.

    Source:
        https://huggingface.co/docs/trl/grpo_trainer, "Using a custom reward function";
        https://verl.readthedocs.io, "Implement Reward Function for Dataset";
        https://platform.openai.com/docs/guides/graders, "Python graders".
    """

    def __init__(
        self, spec: PythonSpec, path: str = "reward", resources: RewardResources | None = None
    ) -> None:
        super().__init__(spec, path, resources)
        if not self.resources.policy.allow_python:
            raise RewardConfigError(
                f"{path}.type is 'python', and the operator of this service does not allow code "
                "of users; set ESSA_REWARD_PYTHON=true where the service is started",
                field=f"{path}.type",
            )
        self.max_retries = spec.max_retries
        self._filename = spec.path or f"{path}.source"
        if spec.source is None:
            assert spec.path is not None
            self._source = _read(spec.path, path)
        else:
            self._source = spec.source
        self._signature = find_function(
            self._source, self._filename, spec.function, spec.style, path
        )
        self._columns = required_columns(self._signature, path)

    def check_row(self, columns: Mapping[str, Any]) -> None:
        if self._signature.style == "verl":
            verl_item(self._signature, Sample("", columns), self.path)
        for column in self._columns:
            read_column(columns, column, f"{self.path}.function")

    def score(self, samples: Sequence[Sample]) -> list[RewardResult]:
        if self._signature.style == "trl":
            return self._score_batch(samples)
        if self._signature.style == "verl":
            return self._score_each(
                samples, lambda one: verl_item(self._signature, one, self.path), self._single
            )
        return self._score_each(samples, grader_item, self._single)

    def _score_batch(self, samples: Sequence[Sample]) -> list[RewardResult]:
        usable = all(text_fault(self.path, sample) is None for sample in samples)
        if usable and len(samples) > 1:
            item = batch_item(self._signature, samples)
            answer = self.children.run(item, share=len(samples))
            given = answer.value if isinstance(answer, Answer) else None
            values = cast("list[Any]", given) if isinstance(given, list) else []
            if len(values) == len(samples):
                return [self._read(Answer(value, ""), self._single) for value in values]
            reason = answer.value if isinstance(answer, Answer) else answer.message
            logger.info("%s: one answer at a time, since the batch gave %s", self.path, reason)
        return self._score_each(samples, lambda one: batch_item(self._signature, [one]), self._only)

    def _only(self, values: list[float | None]) -> RewardResult:
        if len(values) != 1:
            message = f"{self.path}: the function returned {len(values)} scores for one completion"
            return RewardResult(NaN, error=message)
        return self._single(values[0])

    def _single(self, value: float | None) -> RewardResult:
        if value is None:
            return RewardResult(NaN, error=f"{self.path}: the function gave this answer no score")
        return RewardResult(float(value))

    def _program(self) -> Program:
        return Program(
            "reward.user_code.program",
            {
                "source": self._source,
                "filename": self._filename,
                "function": self._signature.name,
                "style": self._signature.style,
            },
        )

    def _limits(self) -> ChildLimits:
        return ChildLimits(
            timeout_s=self.spec.timeout_s,
            cpu_s=self.spec.cpu_s,
            memory_mb=self.spec.memory_mb,
            output_bytes=self.spec.output_bytes,
            max_processes=self.spec.max_processes,
        )


def _read(file: str, path: str) -> str:
    try:
        source = Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RewardConfigError(
            f"{path}.path is {file!r}, which cannot be read: {error}", field=f"{path}.path"
        ) from error
    if len(source) > MAX_SOURCE_CHARS:
        raise RewardConfigError(
            f"{path}.path is {file!r}, which has {len(source)} characters; "
            f"{MAX_SOURCE_CHARS} are the most",
            field=f"{path}.path",
        )
    return source
