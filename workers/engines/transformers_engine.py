"""Hugging Face transformers with a batched population forward: the numeric reference."""

from __future__ import annotations

import gc
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from essa.errors import EngineError
from essa.number_format import Activations
from essa.parametrize.engine_basis import EngineBasis
from essa.spec.engine import Precision
from essa.types import Completion
from workers.engines.base import BASE, Engine, EngineHealth, SamplingParameters, check_answers
from workers.engines.batch_decoding import DecodingModel, Rollout, decode_batch
from workers.engines.batch_scoring import score_batch
from workers.engines.population_hooks import PopulationHooks
from workers.engines.transformers_loading import load_decoding_model, pick_device


class TransformersEngine(Engine):
    """One base model in this process; one lock, so calls from several threads take turns.

    Rows are sorted by prompt length into batches of at most `max_batch`; a row depends on its
    neighbours through rounding only.

    Args:
        model_path: folder or hub name of the unquantised base model.
        precision: number format of the base weights; adapters always run in float32.
        activations: number format of the values between layers; None takes the fast one here.
        max_batch: number of sequences decoded together.
        max_population: largest number of candidates held at once.
        device: `auto`, `cpu` or `cuda`.
    Raises:
        EngineStartError: the model cannot be loaded.
    """

    def __init__(
        self,
        model_path: str | Path,
        *,
        precision: Precision | str = Precision.BF16,
        activations: Activations | None = None,
        max_batch: int = 64,
        max_population: int = 1024,
        device: str = "auto",
    ) -> None:
        self._lock = threading.Lock()
        self._path = str(model_path)
        self._max_batch = max_batch
        self._max_population = max_population
        self._device = pick_device(device)
        self._source: DecodingModel | None = load_decoding_model(
            model_path, Precision(precision), self._device, activations
        )
        self._hooks: PopulationHooks | None = None
        self._generated_tokens = 0

    def load_basis(self, basis: EngineBasis) -> None:
        with self._lock:
            hooks = PopulationHooks(self._loaded().model, basis, self._device)
            if self._hooks is not None:
                self._hooks.remove()
            self._hooks = hooks

    def set_population(self, scales_N_S: NDArray[np.float32]) -> None:
        with self._lock:
            self._loaded()
            if self._hooks is None:
                raise EngineError("set_population came before load_basis")
            scales_N_S = np.asarray(scales_N_S)
            width = self._hooks.basis.width
            if scales_N_S.ndim != 2 or scales_N_S.shape[1] != width:
                raise EngineError(f"scales have shape {scales_N_S.shape}; expected (N, {width})")
            if len(scales_N_S) > self._max_population:
                raise EngineError(
                    f"{len(scales_N_S)} candidates, but the engine was built for "
                    f"{self._max_population}; lower search.population"
                )
            if not np.isfinite(scales_N_S).all():
                raise EngineError("scales have NaN or infinite values; the search diverged")
            self._hooks.set_population(scales_N_S)

    def generate(
        self,
        candidates: Sequence[int],
        prompts: Sequence[Sequence[int]],
        parameters: SamplingParameters,
    ) -> list[list[Completion]]:
        with self._lock:
            source = self._loaded()
            _check_parameters(parameters)
            self._check_request(source, candidates, prompts)
            # Greedy samples of a prompt are all the same: decode one.
            distinct = 1 if parameters.temperature == 0 else parameters.samples
            rollouts = [
                Rollout(candidate, tuple(map(int, prompt)), sample)
                for candidate, prompt in zip(candidates, prompts, strict=True)
                for sample in range(distinct)
            ]
            flat = self._decode(source, rollouts, parameters)
        repeats = parameters.samples // distinct
        return [
            flat[start : start + distinct] * repeats for start in range(0, len(rollouts), distinct)
        ]

    def score(
        self,
        candidates: Sequence[int],
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
    ) -> list[list[Completion]]:
        with self._lock:
            source = self._loaded()
            self._check_request(source, candidates, prompts)
            check_answers(prompts, answers, source.context_limit + 1)
            results: list[Completion] = []
            for start in range(0, len(prompts), self._max_batch):
                chosen = slice(start, start + self._max_batch)
                results += score_batch(
                    source,
                    self._hooks,
                    candidates[chosen],
                    [tuple(map(int, prompt)) for prompt in prompts[chosen]],
                    [tuple(map(int, answer)) for answer in answers[chosen]],
                )
        return [[completion] for completion in results]

    def health(self) -> EngineHealth:
        hooks = self._hooks
        return EngineHealth(
            engine="transformers",
            model=self._path,
            device=str(self._device),
            basis_digest=None if hooks is None else hooks.basis.digest,
            population=0 if hooks is None else hooks.population,
            generated_tokens=self._generated_tokens,
        )

    def close(self) -> None:
        with self._lock:
            if self._hooks is not None:
                self._hooks.remove()
            self._hooks = None
            self._source = None
        gc.collect()

    def _loaded(self) -> DecodingModel:
        if self._source is None:
            raise EngineError("the engine is closed")
        return self._source

    def _decode(
        self, source: DecodingModel, rollouts: Sequence[Rollout], parameters: SamplingParameters
    ) -> list[Completion]:
        by_length = sorted(range(len(rollouts)), key=lambda i: len(rollouts[i].prompt))
        results: dict[int, Completion] = {}
        for start in range(0, len(by_length), self._max_batch):
            chosen = by_length[start : start + self._max_batch]
            batch = decode_batch(source, self._hooks, [rollouts[i] for i in chosen], parameters)
            results.update(zip(chosen, batch, strict=True))
            self._generated_tokens += sum(len(completion.token_ids) for completion in batch)
        return [results[i] for i in range(len(rollouts))]

    def _check_request(
        self,
        source: DecodingModel,
        candidates: Sequence[int],
        prompts: Sequence[Sequence[int]],
    ) -> None:
        if len(candidates) != len(prompts):
            raise EngineError(f"{len(candidates)} candidates for {len(prompts)} prompts")
        population = 0 if self._hooks is None else self._hooks.population
        unknown = sorted({c for c in candidates if c != BASE and not 0 <= c < population})
        if unknown:
            raise EngineError(
                f"unknown candidates {unknown[:8]}; the population has {population} rows"
            )
        vocabulary = cast("nn.Embedding", source.model.get_input_embeddings()).num_embeddings
        for index, prompt in enumerate(prompts):
            if not 0 < len(prompt) < source.context_limit:
                raise EngineError(
                    f"prompt {index} has {len(prompt)} tokens; the model takes 1 to "
                    f"{source.context_limit - 1} and needs one to answer"
                )
            if min(prompt) < 0 or max(prompt) >= vocabulary:
                raise EngineError(
                    f"prompt {index} has token ids from {min(prompt)} to {max(prompt)}; "
                    f"the vocabulary has {vocabulary}: was it made with another tokenizer?"
                )


def _check_parameters(parameters: SamplingParameters) -> None:
    if parameters.max_tokens < 1 or parameters.samples < 1 or parameters.temperature < 0:
        raise EngineError(
            f"cannot decode with max_tokens={parameters.max_tokens}, "
            f"samples={parameters.samples}, temperature={parameters.temperature}; "
            "see rollout.max_tokens, rollout.samples_per_prompt and rollout.temperature"
        )
