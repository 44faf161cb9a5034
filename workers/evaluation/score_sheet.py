"""Answers and scores of one evaluation, filled in as they come; what stays empty is missing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from essa.dispatch import Block
from essa.groups import first_prompt
from essa.types import Completion, PopulationScores, Row, WorkSpan
from reward.base import RewardResult
from reward.sample import Sample
from workers.cluster.pool import ItemResult
from workers.evaluation.work_items import AnswerKey

_MAX_MESSAGES = 20


class ScoreSheet:
    """Rows are candidates in the order of the result, columns the prompts of each.

    Args:
        rows: the batch.
        components: names of the reward's components.
        samples: keep every sample's scores, for this many per prompt; 0 keeps means only.
        groups: of candidates with a part of the batch each, see `essa.groups`.
    """

    def __init__(
        self,
        candidates: int,
        rows: Sequence[Row],
        components: Sequence[str],
        samples: int = 0,
        groups: int = 1,
    ) -> None:
        self._rows = rows
        self.groups = groups
        self.prompts = len(rows) // groups
        shape = (candidates, self.prompts)
        self.means = np.full(shape, np.nan)
        self.rewards = np.full((*shape, samples), np.nan)
        self.components = {name: np.full(shape, np.nan) for name in components}
        self.sample_components = {name: np.full((*shape, samples), np.nan) for name in components}
        self.answers: list[list[list[Completion]]] = [
            [[] for _ in range(self.prompts)] for _ in range(candidates)
        ]
        self.reference: dict[AnswerKey, tuple[float, ...]] = {}
        """Log-probabilities of answers under the base, where they were asked for."""
        self._open = np.full(candidates, self.prompts)
        self.failures: Counter[str] = Counter()
        self.prompt_tokens = self.generated_tokens = self._samples = 0
        self.began_s = time.monotonic()
        self._spans: list[WorkSpan] = []

    def put(self, row: int, block: Block, completions: Sequence[list[Completion]]) -> None:
        """Take in the answers of a block."""
        self.answers[row][block.start : block.stop] = completions
        self._samples += sum(map(len, completions))
        self.generated_tokens += sum(
            len(sample.token_ids) for samples in completions for sample in samples
        )
        self._open[row] -= block.stop - block.start

    def fail(self, row: int, block: Block, message: str) -> None:
        """Note that a block has no answers."""
        self.failures[message] += block.stop - block.start
        self._open[row] -= block.stop - block.start

    def note(self, result: ItemResult, candidates: tuple[int, ...] = ()) -> None:
        """Note which engine did an item; `candidates` is empty for the base."""
        generated = result.completions if result.item.answers is None else None
        self._spans.append(
            WorkSpan(
                result.engine,
                result.started_s - self.began_s,
                result.ended_s - self.began_s,
                candidates,
                sum(len(one.token_ids) for samples in generated or () for one in samples),
            )
        )

    def is_complete(self, row: int) -> bool:
        """True once every prompt of the candidate has its answers, or has failed."""
        return self._open[row] == 0

    def first_prompt(self, row: int) -> int:
        """Position in the batch of the first prompt of a candidate."""
        return first_prompt(row, len(self.answers), self.groups, self.prompts)

    def answered(self, row: int) -> Iterator[tuple[int, list[Completion]]]:
        """Position in the batch and answers of every prompt of a candidate."""
        return enumerate(self.answers[row], start=self.first_prompt(row))

    def samples(self, row: int) -> list[Sample]:
        """Everything that one candidate answered, prompt by prompt, as a reward is given it."""
        return [
            Sample(
                completion.text,
                self._rows[prompt].columns,
                prompt=self._rows[prompt].prompt,
                messages=self._rows[prompt].messages,
                group=prompt,
                tokens=len(completion.token_ids),
                logprobs=completion.token_logprobs,
                reference_logprobs=self.reference.get((prompt, completion.token_ids)),
            )
            for prompt, completions in self.answered(row)
            for completion in completions
        ]

    def score(self, row: int, results: Iterator[RewardResult]) -> None:
        """Take in the results of `samples(row)`, and leave the others."""
        for prompt, completions in enumerate(self.answers[row]):
            own = [next(results) for _ in completions]
            for result in own:
                if result.error is not None:
                    self.failures[result.error] += 1
            values = [result.value for result in own]
            self.means[row, prompt] = _known_mean(values)
            for name, column in self.components.items():
                column[row, prompt] = _known_mean([result.components[name] for result in own])
            if own and self.rewards.shape[2]:
                self.rewards[row, prompt] = values
                for name, all_samples in self.sample_components.items():
                    all_samples[row, prompt] = [result.components[name] for result in own]

    def result(self, rollout_s: float, reward_s: float) -> PopulationScores:
        """The scores as the coordinator sees them."""
        return PopulationScores(
            rewards_N_P=self.means,
            components=self.components,
            completions=[
                [samples[0].text if samples else "" for samples in row] for row in self.answers
            ],
            prompt_tokens=self.prompt_tokens,
            generated_tokens=self.generated_tokens,
            rollout_s=rollout_s,
            reward_s=reward_s,
            failures=dict(self.failures.most_common(_MAX_MESSAGES)),
            samples=self._samples,
            spans=tuple(self._spans),
            groups=self.groups,
        )


def _known_mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
