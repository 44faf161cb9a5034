"""Decoding of one batch with a key-value cache, reproducible row by row.

`model.generate` has one random state for the whole batch and no hook for rows that leave it, so
the loop is our own: sampled rows do not depend on their neighbours, and finished rows are dropped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel

from essa.types import Completion
from workers.engines.base import SamplingParameters
from workers.engines.population_hooks import PopulationHooks


@dataclass(frozen=True)
class DecodingModel:
    """A model with tokenizer and end tokens; `context_limit` counts prompt and answer tokens."""

    model: PreTrainedModel
    tokenizer: Any
    end_ids: frozenset[int]
    context_limit: int


@dataclass(frozen=True)
class Rollout:
    """One row to decode; `sample` numbers the samples of one prompt."""

    candidate: int
    prompt: tuple[int, ...]
    sample: int = 0


@dataclass
class _Answer:
    """The growing answer of one row."""

    source: DecodingModel
    parameters: SamplingParameters
    budget: int
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str | None = None

    def accept(self, token: int, logprob: float | None) -> None:
        self.token_ids.append(token)
        if logprob is not None:
            self.logprobs.append(logprob)
        ends = token in self.source.end_ids and not self.parameters.ignore_end
        if ends or self._stop_position(self._decode()) is not None:
            self.finish_reason = "stop"
        elif len(self.token_ids) >= self.budget:
            self.finish_reason = "length"

    def completion(self) -> Completion:
        text = self._decode(force=True)
        return Completion(
            text=text[: self._stop_position(text)],
            token_ids=tuple(self.token_ids),
            finish_reason=self.finish_reason or "length",
            token_logprobs=tuple(self.logprobs) if self.parameters.with_logprobs else None,
        )

    def _decode(self, force: bool = False) -> str:
        if not (self.parameters.stop or force):
            return ""
        ends = self.token_ids[-1] in self.source.end_ids
        return self.source.tokenizer.decode(
            self.token_ids[:-1] if ends else self.token_ids,
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )

    def _stop_position(self, text: str) -> int | None:
        found = [text.find(stop) for stop in self.parameters.stop]
        return min((position for position in found if position >= 0), default=None)


class _Batch:
    """Inputs of the model's next forward pass over the rows still decoding."""

    def __init__(self, source: DecodingModel, rollouts: Sequence[Rollout]) -> None:
        self._model = source.model
        self._device = next(source.model.parameters()).device
        self._ids, self._mask = left_pad([row.prompt for row in rollouts], self._device)
        self._positions = (self._mask.cumsum(dim=1) - 1).clamp(min=0)
        self._cache = DynamicCache(config=source.model.config)

    def logits(self) -> torch.Tensor:
        """Return next-token logits in float32, shape (rows, vocabulary)."""
        output = self._model(
            input_ids=self._ids,
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()

    def append(self, chosen: torch.Tensor) -> None:
        self._ids = chosen[:, None]
        self._positions = self._positions[:, -1:] + 1
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(chosen), 1)], dim=1)

    def keep(self, rows: torch.Tensor) -> None:
        self._ids, self._positions = self._ids[rows], self._positions[rows]
        self._mask = self._mask[rows]
        self._cache.batch_select_indices(rows)


@torch.inference_mode()
def decode_batch(
    source: DecodingModel,
    hooks: PopulationHooks | None,
    rollouts: Sequence[Rollout],
    parameters: SamplingParameters,
) -> list[Completion]:
    """Decode all rows together and return their completions in order.

    A row's random draws depend on the seed, its prompt and its sample number, and on nothing
    else: all candidates get the same draws for a prompt (common random numbers).
    """
    limits = [source.context_limit - len(row.prompt) for row in rollouts]
    answers = [_Answer(source, parameters, min(parameters.max_tokens, n)) for n in limits]
    live = list(answers)
    batch = _Batch(source, rollouts)
    draws = _uniform_draws(rollouts, parameters)
    if hooks is not None:
        hooks.select([row.candidate for row in rollouts])
    for step in range(parameters.max_tokens):
        logits = batch.logits()
        chosen = _choose(logits, parameters.temperature, draws[:, step])
        logprobs = _logprobs(logits, chosen, parameters)
        for answer, token, logprob in zip(live, chosen.tolist(), logprobs, strict=True):
            answer.accept(token, logprob)
        kept = [i for i, answer in enumerate(live) if answer.finish_reason is None]
        if not kept:
            break
        batch.append(chosen)
        if len(kept) < len(live):
            rows = torch.tensor(kept, device=chosen.device)
            live = [live[i] for i in kept]
            draws = draws[kept]
            batch.keep(rows)
            if hooks is not None:
                hooks.keep(rows)
    return [answer.completion() for answer in answers]


def left_pad(
    prompts: Sequence[Sequence[int]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and attention mask, both of shape (rows, longest prompt)."""
    longest = max(len(prompt) for prompt in prompts)
    # The padding token's identity is irrelevant under the mask; 0 is in every vocabulary.
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    return ids.to(device), mask.to(device)


def _uniform_draws(rollouts: Sequence[Rollout], parameters: SamplingParameters) -> torch.Tensor:
    """Return numbers in [0, 1), float64 on the CPU, shape (rows, max_tokens); 0 for greedy."""
    draws = torch.zeros(len(rollouts), parameters.max_tokens, dtype=torch.float64)
    if parameters.temperature > 0:
        for numbers, row in zip(draws, rollouts, strict=True):
            key = repr((parameters.seed, row.sample, row.prompt)).encode()
            seed = int.from_bytes(hashlib.sha256(key).digest()[:8], "little") >> 1
            numbers.uniform_(generator=torch.Generator().manual_seed(seed))
    return draws


def _choose(logits: torch.Tensor, temperature: float, draws: torch.Tensor) -> torch.Tensor:
    """Pick one token per row: the most likely one, or by inverting the distribution function."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    cumulative = (logits.double() / temperature).softmax(dim=-1).cumsum(dim=-1)
    levels = draws.to(logits.device)[:, None] * cumulative[:, -1:]
    chosen = torch.searchsorted(cumulative, levels, right=True)
    return chosen[:, 0].clamp(max=logits.shape[-1] - 1)


def _logprobs(
    logits: torch.Tensor, chosen: torch.Tensor, parameters: SamplingParameters
) -> list[float] | list[None]:
    if not parameters.with_logprobs:
        return [None] * len(chosen)
    return logits.log_softmax(dim=-1).gather(1, chosen[:, None])[:, 0].tolist()
