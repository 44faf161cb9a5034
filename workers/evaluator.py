"""Score populations on the engine pool; implements the coordinator's `Evaluator` port."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from essa.errors import EvaluationError
from essa.parametrize.codec import SingularValueCodec
from essa.ports import Evaluator
from essa.spec.engine import RolloutSpec
from essa.types import Completion, FloatArray, PopulationScores, Row, describe_failures
from reward.base import Reward, RewardResult
from workers.engines.base import BASE, SamplingParameters
from workers.pool import EnginePool
from workers.prompting import PromptEncoder
from workers.work_items import Block, plan_blocks, work_items

Progress = Callable[[str, int, int], None]
"""(what, work items done, work items in all)."""

_MAX_MESSAGES = 20


class PoolEvaluator(Evaluator):
    """Rollouts on the pool; rewards here, as the items come in.

    Args:
        codec: None until there are bases: then only the base model can be evaluated.
        check: raises to end a running evaluation (cancel).
        progress: called as items finish.
    """

    def __init__(
        self,
        pool: EnginePool,
        encoder: PromptEncoder,
        reward: Reward,
        rollout: RolloutSpec,
        *,
        codec: SingularValueCodec | None = None,
        seed: int = 0,
        check: Callable[[], None] = lambda: None,
        progress: Progress = lambda what, done, total: None,
    ) -> None:
        self._pool = pool
        self._encoder = encoder
        self._reward = reward
        self._rollout = rollout
        self._codec = codec
        self._seed = seed
        self._check = check
        self._progress = progress

    def evaluate(
        self,
        vectors_N_D: FloatArray,
        rows: Sequence[Row],
        *,
        with_base: bool = False,
        label: str = "",
    ) -> PopulationScores:
        limit = self._pool.max_population
        candidates = len(vectors_N_D)
        sheet = _ScoreSheet(candidates + with_base, len(rows), self._reward.component_names)
        started = time.monotonic()
        for first in range(0, max(candidates, 1), limit):
            part = vectors_N_D[first : first + limit]
            if len(part):
                self._pool.set_population(self._codec.scales(part))
            ids = [BASE] if with_base and first == 0 else []
            offset = 0 if ids else first + with_base
            self._score([*ids, *range(len(part))], offset, rows, sheet, label)
        return sheet.result(time.monotonic() - started)

    def sample_base(
        self, rows: Sequence[Row], *, samples: int, temperature: float, label: str
    ) -> tuple[FloatArray, list[list[Completion]], int]:
        """Sample several answers a prompt from the base and score every one.

        Returns:
            rewards (P, G), NaN where missing; the completions of every prompt; and
            the tokens used.
        Raises:
            EvaluationError: not one answer could be scored.
        """
        parameters = SamplingParameters(
            max_tokens=self._rollout.max_tokens,
            temperature=temperature,
            samples=samples,
            stop=self._rollout.stop,
            seed=self._seed,
        )
        sheet = _ScoreSheet(1, len(rows), self._reward.component_names, samples=samples)
        self._score([BASE], 0, rows, sheet, label, parameters)
        if np.isnan(sheet.rewards).all():
            raise EvaluationError(
                f"not one of {sheet.rewards.size} answers sampled from the base could be scored; "
                "look at the reward, engine.max_model_len and rollout.max_tokens. Failures: "
                + describe_failures(sheet.failures)
            )
        return sheet.rewards[0], sheet.sampled[0], sheet.prompt_tokens + sheet.generated_tokens

    def _score(
        self,
        ids: Sequence[int],
        offset: int,
        rows: Sequence[Row],
        sheet: _ScoreSheet,
        label: str,
        parameters: SamplingParameters | None = None,
    ) -> None:
        prompt_ids = [tuple(self._encoder.token_ids(row.prompt)) for row in rows]
        blocks = plan_blocks(ids, len(rows), engines=self._pool.size, capacity=self._pool.capacity)
        items = work_items(blocks, prompt_ids, parameters or self._greedy_or_sampled())
        for done, result in enumerate(self._pool.run(items, self._check), start=1):
            block = blocks[result.item.key]
            if result.completions is None:
                sheet.fail(result.error or "the rollout failed", block.stop - block.start)
            else:
                began = time.monotonic()
                self._record(block, offset, rows, result.completions, sheet)
                sheet.reward_s += time.monotonic() - began
                sheet.prompt_tokens += sum(len(prompt) for prompt in result.item.prompts)
            self._progress(label, done, len(items))

    def _greedy_or_sampled(self) -> SamplingParameters:
        rollout = self._rollout
        return SamplingParameters(
            max_tokens=rollout.max_tokens,
            temperature=rollout.temperature,
            samples=rollout.samples_per_prompt,
            stop=rollout.stop,
            seed=self._seed,
        )

    def _record(
        self,
        block: Block,
        offset: int,
        rows: Sequence[Row],
        completions: list[list[Completion]],
        sheet: _ScoreSheet,
    ) -> None:
        texts, columns = [], []
        for position, samples in enumerate(completions):
            for sample in samples:
                texts.append(sample.text)
                columns.append(rows[block.start + position].columns)
        results = iter(self._reward.score(texts, columns))
        for position, samples in enumerate(completions):
            sheet.put(
                block.row + offset,
                block.start + position,
                samples,
                [next(results) for _ in samples],
            )


class _ScoreSheet:
    """Fills in as work items come back; what stays empty is missing."""

    def __init__(
        self, rows: int, prompts: int, components: Sequence[str], samples: int = 0
    ) -> None:
        self.means = np.full((rows, prompts), np.nan)
        self.rewards = np.full((rows, prompts, samples), np.nan)
        self.components = {name: np.full((rows, prompts), np.nan) for name in components}
        self.completions = [[""] * prompts for _ in range(rows)]
        self.sampled: list[list[list[Completion]]] = [
            [[] for _ in range(prompts)] for _ in range(rows)
        ]
        self.failures: Counter[str] = Counter()
        self.prompt_tokens = self.generated_tokens = 0
        self.reward_s = 0.0

    def put(
        self, row: int, prompt: int, samples: list[Completion], results: list[RewardResult]
    ) -> None:
        self.completions[row][prompt] = samples[0].text
        self.generated_tokens += sum(len(sample.token_ids) for sample in samples)
        for result in results:
            if result.error is not None:
                self.failures[result.error] += 1
        self.means[row, prompt] = _known_mean([result.value for result in results])
        for name, values in self.components.items():
            values[row, prompt] = _known_mean([result.components[name] for result in results])
        if self.rewards.shape[2]:
            self.rewards[row, prompt] = [result.value for result in results]
            self.sampled[row][prompt] = samples

    def fail(self, message: str, count: int) -> None:
        self.failures[message] += count

    def result(self, seconds: float) -> PopulationScores:
        return PopulationScores(
            rewards_N_P=self.means,
            components=self.components,
            completions=self.completions,
            prompt_tokens=self.prompt_tokens,
            generated_tokens=self.generated_tokens,
            rollout_s=seconds - self.reward_s,
            reward_s=self.reward_s,
            failures=dict(self.failures.most_common(_MAX_MESSAGES)),
        )


def _known_mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
