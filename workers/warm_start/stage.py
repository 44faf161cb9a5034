"""The warm-start stage of a job: from `warm_start` to a PEFT adapter in the run's folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from essa.coordinator.state import Preparation
from essa.errors import DataError
from essa.number_format import Activations
from essa.ports import Say
from essa.spec.model import (
    AdapterWarmStartSpec,
    LoraSpec,
    RejectionSamplingWarmStartSpec,
    WarmStartSpec,
)
from essa.types import Row
from workers.evaluation.evaluator import PoolEvaluator
from workers.prompting import PromptEncoder
from workers.warm_start.here import train_named
from workers.warm_start.on_gpu import train_on_gpu
from workers.warm_start.pairs import SftPair, read_pairs
from workers.warm_start.rejection import select_best


@dataclass(frozen=True)
class WarmStartResult:
    """Folder of the adapter, and the tokens, completions and seconds spent on it by this start."""

    folder: Path
    tokens: int = 0
    samples: int = 0
    seconds: float = 0.0

    def as_preparation(self, elapsed_s: float) -> Preparation:
        """Return what the job used before its first generation, `elapsed_s` after its start."""
        return Preparation(elapsed_s, self.tokens, self.samples, self.seconds)


def make_warm_start(
    spec: WarmStartSpec,
    *,
    model_folder: Path,
    train: Sequence[Row],
    evaluator: Callable[[], PoolEvaluator],
    make_room: Callable[[], int],
    encoder: PromptEncoder,
    out_dir: Path,
    seed: int,
    training: Activations,
    say: Say,
    should_stop: Callable[[], bool],
) -> WarmStartResult:
    """Produce the adapter the search starts from; an existing `out_dir` is taken as finished.

    Args:
        evaluator: provides the engines; called only if answers are sampled, so that training on
            given pairs can run before the engines start.
        make_room: called before training; returns the number of GPUs that training may take.
        training: number format that gradients are computed in.
    Raises:
        DataError: no usable training pair.
        TrainerError: memory ran out, or the training's process died.
        JobCancelledError: the user cancelled.
    """
    if isinstance(spec, AdapterWarmStartSpec) or out_dir.is_dir():
        return finished_warm_start(spec, out_dir)
    began_s = time.monotonic()
    tokens = samples = 0
    if isinstance(spec, RejectionSamplingWarmStartSpec):
        samples = spec.samples_per_prompt * len(train[: spec.max_prompts])
        pairs, tokens = sample_pairs(spec, train, evaluator(), encoder, say)
    else:
        pairs = read_pairs(spec.path, encoder)
    say(f"training a rank-{spec.lora.rank} LoRA on {len(pairs)} answers")
    fit = train_on_gpu if make_room() else train_named
    fit(
        model_folder,
        pairs,
        spec.lora,
        spec.sft,
        seed,
        out_dir,
        say,
        training=training,
        should_stop=should_stop,
    )
    return WarmStartResult(out_dir, tokens, samples, time.monotonic() - began_s)


def finished_warm_start(spec: WarmStartSpec, out_dir: Path) -> WarmStartResult:
    """Return the adapter that an earlier start of the job made, or that the user gave."""
    if isinstance(spec, AdapterWarmStartSpec):
        return WarmStartResult(Path(spec.path).expanduser())
    return WarmStartResult(out_dir)


def warm_start_lora(spec: WarmStartSpec) -> LoraSpec | None:
    """Return the shape of the adapter if the job trains it; None if the user gave it."""
    return None if isinstance(spec, AdapterWarmStartSpec) else spec.lora


def sample_pairs(
    spec: RejectionSamplingWarmStartSpec,
    train: Sequence[Row],
    evaluator: PoolEvaluator,
    encoder: PromptEncoder,
    say: Say,
) -> tuple[list[SftPair], int]:
    """Return the base's best answers to the first training prompts, and the tokens of all answers.

    Raises:
        DataError: no answer can be trained on.
    """
    rows = train[: spec.max_prompts]
    say(f"sampling {spec.samples_per_prompt} answers to each of {len(rows)} prompts")
    found = evaluator.sample(
        None,
        rows,
        samples=spec.samples_per_prompt,
        temperature=spec.temperature,
        label="sampling from the base",
    )
    kept = select_best(found.rewards_P_G, spec.min_reward)
    say(
        f"kept {len(kept)} of {len(rows)} best answers: mean reward {kept.mean_reward:.3f} -> "
        f"{kept.kept_reward:.3f}"
    )
    pairs = []
    for prompt, sample in zip(kept.prompts, kept.samples, strict=True):
        completion = found.completions[prompt][sample]
        if not completion.text.strip():
            # The end token alone would still be a pair, and teach the model to say nothing.
            continue
        answer = encoder.answer_ids(completion.text, is_finished=completion.finish_reason == "stop")
        prompt_ids = tuple(encoder.token_ids(rows[prompt].prompt))
        pairs.append(SftPair(prompt_ids, tuple(answer)))
    if not pairs:
        raise DataError("every kept answer is empty; look at rollout.max_tokens and the prompt")
    return pairs, found.scores.tokens
