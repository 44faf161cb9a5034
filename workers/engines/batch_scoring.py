"""Log-probabilities of given answers for one batch: one forward pass, no cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from essa.types import Completion
from workers.engines.batch_decoding import DecodingModel, left_pad
from workers.engines.population_hooks import PopulationHooks


@torch.inference_mode()
def score_batch(
    source: DecodingModel,
    hooks: PopulationHooks | None,
    candidates: Sequence[int],
    prompts: Sequence[tuple[int, ...]],
    answers: Sequence[tuple[int, ...]],
) -> list[Completion]:
    """Score all rows together and return the results in order. See `Engine.score`."""
    device = next(source.model.parameters()).device
    ids, mask = left_pad(
        [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)], device
    )
    if hooks is not None:
        hooks.select(candidates)
    # Padding is on the left, so all answers end together, and the last positions have the logits of
    # all of them.
    kept = max(map(len, answers)) + 1
    logits = source.model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
        use_cache=False,
        logits_to_keep=kept,
    ).logits[:, :-1]
    logprobs = logits.float().log_softmax(dim=-1)
    chosen = logprobs.gather(2, ids[:, -(kept - 1) :, None])[:, :, 0].tolist()
    return [
        Completion("", answer, "scored", tuple(row[-len(answer) :]))
        for row, answer in zip(chosen, answers, strict=True)
    ]
