"""Score populations on the engine pool; implements the coordinator's `Evaluator` port."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from essa.dispatch import Block, bundles, item_sequences, plan_blocks
from essa.errors import EvaluationError
from essa.groups import check_groups
from essa.parametrize.port import Codec, Load
from essa.ports import Evaluator, GroupRollouts, GroupSampler
from essa.spec.engine import RolloutSpec
from essa.types import FloatArray, PopulationScores, Row, describe_failures
from reward.base import Reward
from reward.sample import Need
from workers.cluster.pool import EnginePool, ItemResult, WorkItem
from workers.engines.base import BASE, SamplingParameters
from workers.evaluation.score_sheet import ScoreSheet
from workers.evaluation.scoring import Scoring
from workers.evaluation.work_items import reference_items, work_items
from workers.prompting import PromptEncoder

Progress = Callable[[str, int, int, int], None]
"""(what, answers done, answers in all, tokens generated so far)."""


class PoolEvaluator(Evaluator, GroupSampler):
    """Rollouts on the pool; rewards here, in threads, as candidates are finished.

    Args:
        codec: None until there is an adapter: then only the base model can be evaluated.
        check: raises to end a running evaluation (cancel).
        progress: called as items finish, and a few times a second in between.
    """

    def __init__(
        self,
        pool: EnginePool,
        encoder: PromptEncoder,
        reward: Reward,
        rollout: RolloutSpec,
        *,
        codec: Codec | None = None,
        seed: int = 0,
        check: Callable[[], None] = lambda: None,
        progress: Progress = lambda what, done, total, tokens: None,
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
        groups: int = 1,
        with_base: bool = False,
        label: str = "",
    ) -> PopulationScores:
        assert groups == 1 or not with_base, "the base belongs to no group"
        check_groups(groups, len(vectors_N_D), len(rows))
        sheet = ScoreSheet(
            len(vectors_N_D) + with_base, rows, self._reward.component_names, groups=groups
        )
        with Scoring(self._reward, sheet, self._check) as scoring:
            # The base is decoded beside the candidates of the first load, or alone.
            row, ids = 0, [BASE] if with_base else []
            for load in self._loads(vectors_N_D):
                self._pool.load(load)
                ids += range(load.candidates)
                first = max(0, row - with_base)
                self._roll_out(ids, row, rows, sheet, scoring, label, first=first)
                row, ids = row + len(ids), []
            if ids:
                self._roll_out(ids, row, rows, sheet, scoring, label)
            reward_s = scoring.finish()
        return sheet.result(time.monotonic() - sheet.began_s - reward_s, reward_s)

    def sample(
        self,
        vector: FloatArray | None,
        rows: Sequence[Row],
        *,
        samples: int,
        temperature: float,
        seed: int | None = None,
        label: str = "rollouts",
    ) -> GroupRollouts:
        """Sample several answers a prompt and score every one.

        Args:
            vector: shape (D,); None is the base.
            seed: of the sampling; None takes the evaluator's own.
        Raises:
            EvaluationError: not one answer could be scored.
        """
        parameters = replace(self._greedy_or_sampled(), temperature=temperature, samples=samples)
        if seed is not None:
            parameters = replace(parameters, seed=seed)
        if vector is not None:
            (load,) = self._loads(vector[None])
            self._pool.load(load)
        sheet = ScoreSheet(1, rows, self._reward.component_names, samples)
        with Scoring(self._reward, sheet, self._check) as scoring:
            ids = [BASE if vector is None else 0]
            self._roll_out(ids, 0, rows, sheet, scoring, label, parameters)
            reward_s = scoring.finish()
        if np.isnan(sheet.rewards).all():
            whose = "the base" if vector is None else "the adapter"
            raise EvaluationError(
                f"not one of {sheet.rewards.size} answers sampled from {whose} could be scored; "
                "look at the reward, engine.max_model_len and rollout.max_tokens. Failures: "
                + describe_failures(sheet.failures)
            )
        scores = sheet.result(time.monotonic() - sheet.began_s - reward_s, reward_s)
        components = {name: values[0] for name, values in sheet.sample_components.items()}
        return GroupRollouts(rows, sheet.rewards[0], sheet.answers[0], scores, components)

    def _loads(self, vectors_N_D: FloatArray) -> Iterator[Load]:
        """The codec's loads, none larger than what engines hold at once."""
        if len(vectors_N_D):
            assert self._codec is not None, "vectors are evaluated once there is an adapter"
            for load in self._codec.loads(vectors_N_D):
                yield from load.parts(self._pool.max_population)

    def _roll_out(
        self,
        ids: Sequence[int],
        offset: int,
        rows: Sequence[Row],
        sheet: ScoreSheet,
        scoring: Scoring,
        label: str,
        parameters: SamplingParameters | None = None,
        first: int = 0,
    ) -> None:
        """Fill in the answers of some candidates; every finished one goes to be scored.

        Args:
            ids: as the engines know them.
            offset: row of the sheet that the first of them has.
            first: number that the engines' candidate 0 has among the vectors.
        """
        prompt_ids = [tuple(self._encoder.token_ids(row.prompt)) for row in rows]
        parameters = parameters or self._greedy_or_sampled()
        bundles = self._bundles(ids, sheet, parameters)
        items = work_items(
            bundles, prompt_ids, parameters, lambda row: sheet.first_prompt(row + offset)
        )
        wants_reference = self._wants(Need.REFERENCE_LOGPROBS)
        for result in self._run(items, label):
            bundle = bundles[result.item.key]
            candidates = dict.fromkeys(block.candidate for block in bundle)
            sheet.note(result, tuple(first + one for one in candidates if one != BASE))
            answers = iter(result.completions or ())
            for block in bundle:
                if result.completions is None:
                    sheet.fail(block.row + offset, block, result.error or "the rollout failed")
                else:
                    own = list(itertools.islice(answers, block.stop - block.start))
                    sheet.put(block.row + offset, block, own)
            if result.completions is not None:
                sheet.prompt_tokens += sum(map(len, result.item.prompts))
            if not wants_reference:
                done = [block.row + offset for block in bundle]
                scoring.submit(*(row for row in done if sheet.is_complete(row)))
        if wants_reference:
            filled = range(offset, offset + len(ids))
            self._add_reference(filled, prompt_ids, sheet, label)
            for row in filled:
                scoring.submit(row)

    def _bundles(
        self, ids: Sequence[int], sheet: ScoreSheet, parameters: SamplingParameters
    ) -> list[tuple[Block, ...]]:
        """What every work item holds: several candidates where those have few prompts each."""
        size, capacity = self._pool.size, self._pool.capacity
        blocks = plan_blocks(ids, sheet.prompts, engines=size, capacity=capacity)
        if sheet.groups == 1 or parameters.temperature > 0:
            return [(block,) for block in blocks]
        total = len(ids) * sheet.prompts
        return bundles(blocks, item_sequences(total, engines=size, capacity=capacity))

    def _add_reference(
        self,
        filled: Sequence[int],
        prompt_ids: Sequence[tuple[int, ...]],
        sheet: ScoreSheet,
        label: str,
    ) -> None:
        """Let the base score what was answered, every distinct answer once."""
        wanted = {
            (prompt, completion.token_ids): None
            for row in filled
            for prompt, completions in sheet.answered(row)
            for completion in completions
            if completion.token_ids and (prompt, completion.token_ids) not in sheet.reference
        }
        keys, items = reference_items(
            list(wanted), prompt_ids, engines=self._pool.size, capacity=self._pool.capacity
        )
        for result in self._run(items, f"{label}, log-probabilities under the base"):
            sheet.note(result)
            if result.completions is None:
                sheet.failures[result.error or "the base could not score answers"] += 1
            else:
                for key, (scored,) in zip(keys[result.item.key], result.completions, strict=True):
                    assert scored.token_logprobs is not None  # as `Engine.score` promises
                    sheet.reference[key] = scored.token_logprobs
                    sheet.prompt_tokens += len(prompt_ids[key[0]]) + len(key[1])

    def _run(self, items: Sequence[WorkItem], label: str) -> Iterator[ItemResult]:
        """Results of the pool, with progress on the way: answers come in bunches, tokens do not."""
        total = sum(item.sequences for item in items)
        done, before = 0, self._pool.generated_tokens()

        def check() -> None:
            self._check()
            self._progress(label, done, total, self._pool.generated_tokens() - before)

        for result in self._pool.run(items, check):
            yield result
            done += result.item.sequences
            self._progress(label, done, total, self._pool.generated_tokens() - before)

    def _greedy_or_sampled(self) -> SamplingParameters:
        rollout = self._rollout
        return SamplingParameters(
            max_tokens=rollout.max_tokens,
            temperature=rollout.temperature,
            samples=rollout.samples_per_prompt,
            stop=rollout.stop,
            seed=self._seed,
            with_logprobs=self._wants(Need.LOGPROBS),
        )

    def _wants(self, need: Need) -> bool:
        return need in self._reward.needs
