"""The engine port: one inference engine holding one base model and one population."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from essa.errors import EngineError
from essa.parametrize.engine_basis import EngineBasis
from essa.types import Completion

BASE = -1
"""Candidate id of the model without any adapter. Vectors are 0 .. N - 1."""


@dataclass(frozen=True)
class SamplingParameters:
    """Parameters of one `generate` call. `temperature` 0 is greedy; `samples` is per prompt."""

    max_tokens: int
    temperature: float = 0.0
    samples: int = 1
    stop: tuple[str, ...] = ()
    seed: int = 0
    with_logprobs: bool = False
    ignore_end: bool = False
    """Decode past the end token to `max_tokens`, so that timed candidates do equal work."""


@dataclass(frozen=True)
class EngineHealth:
    """The status that an engine reports."""

    engine: str
    model: str
    device: str
    basis_digest: str | None
    population: int
    generated_tokens: int
    """Tokens generated so far, with those of unfinished answers if the engine knows them."""


class Engine(ABC):
    """One base model, one set of bases, one population.

    Life cycle: construct (loads the base), `load_basis`, then `set_population` and `generate` any
    number of times, `close`. `generate` calls from several threads at once share one batch;
    `load_basis` and `set_population` wait for running calls, and new calls wait for them.
    """

    @abstractmethod
    def load_basis(self, basis: EngineBasis) -> None:
        """Install the frozen bases; forgets any population.

        Raises:
            EngineError: a module is unknown to the model or has another shape.
        """

    @abstractmethod
    def set_population(self, scales_N_S: NDArray[np.float32]) -> None:
        """Replace the population, shape (N, S): row n is candidate n, columns as in `EngineBasis`.

        No completion generated afterwards depends on an earlier population.

        Raises:
            EngineError: wrong width, more rows than the engine was built for, or no basis.
        """

    @abstractmethod
    def generate(
        self,
        candidates: Sequence[int],
        prompts: Sequence[Sequence[int]],
        parameters: SamplingParameters,
    ) -> list[list[Completion]]:
        """Complete `prompts[i]` (token ids) with candidate `candidates[i]`, for every i.

        Returns:
            For every i its `parameters.samples` completions, in the order given.
        Raises:
            EngineError: an unknown candidate, or a prompt too long for the engine.
            EngineStoppedError: the engine failed or was closed, and must be built again.
        """

    @abstractmethod
    def score(
        self,
        candidates: Sequence[int],
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
    ) -> list[list[Completion]]:
        """Return log-probabilities of given answers: one pass over prompt and answer, no sampling.

        Args:
            answers: `answers[i]` are the token ids after `prompts[i]`; none may be empty.
        Returns:
            For every i one completion without text, whose `token_logprobs` are the natural
            logarithms of the probabilities of its tokens.
        Raises:
            EngineError: an unknown candidate, an empty answer, or a prompt and answer that leave
                no room for one more token in the engine's context.
            EngineStoppedError: the engine failed or was closed, and must be built again.
        """

    @abstractmethod
    def health(self) -> EngineHealth:
        """Describe the engine. Cheap."""

    @abstractmethod
    def close(self) -> None:
        """Free the model. Safe to call twice."""


def check_answers(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], context: int
) -> None:
    """Refuse answers that cannot be scored.

    Args:
        context: number of tokens that prompt and answer together must stay below.
    Raises:
        EngineError: see `Engine.score`.
    """
    if len(prompts) != len(answers):
        raise EngineError(f"{len(answers)} answers for {len(prompts)} prompts")
    if not all(map(len, answers)):
        raise EngineError("an answer without tokens has no log-probabilities")
    longest = max(
        (len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)),
        default=0,
    )
    if longest >= context:
        raise EngineError(
            f"a prompt and answer of {longest} tokens cannot be scored within {context} tokens; "
            "raise engine.max_model_len or lower rollout.max_tokens"
        )
